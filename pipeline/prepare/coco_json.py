"""COCO annotations: an image's categories, or its captions, are its phrases; masks that are there are the truth."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.output.parallel import chunks
from litelvlm.pipeline.prepare.folders import union
from litelvlm.pipeline.prepare.pieces import Notes, Options, Piece, SourceFile
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.true_masks import parse_mask

MAX_JSON_BYTES = 2 << 30
_MAX_PIXELS = 100_000_000
_IMAGES_A_PIECE = 500


@dataclass(frozen=True, kw_only=True)
class CocoImage:
    """An image with what its annotations say: phrase -> segmentations, None for a caption."""

    image_id: str
    file_name: str
    size_hw: tuple[int, int] | None
    asked: tuple[tuple[str, tuple[Any, ...] | None], ...]


@dataclass(frozen=True, kw_only=True)
class CocoPiece:
    """Some images of a file. `number` is the piece's in it."""

    file: SourceFile
    number: int
    images: tuple[CocoImage, ...]

    @property
    def identity(self) -> str:
        return f"{self.file.identity}:{self.number}"

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """An image each."""
        for image in self.images:
            phrases = tuple(phrase for phrase, _ in image.asked)
            masks = tuple(_mask(image, segmentations, notes) for _, segmentations in image.asked)
            yield PreparedRow(image_id=image.image_id, path=image.file_name, phrases=phrases, masks=masks)


def coco_pieces(file: SourceFile, options: Options) -> tuple[list[Piece], bool]:
    """The images of a file, and whether there are masks.

    Raises ValueError saying what is wrong with the file.
    """
    content = _read(file, options)
    images = content.get("images")
    if not isinstance(images, list) or not isinstance(content.get("annotations", []), list):
        raise ValueError(f"{file.path}: is no COCO json: it must hold lists of `images` and `annotations`")
    names = {_key(one.get("id")): one.get("name") for one in _objects(content.get("categories"))}
    asked: dict[str, dict[str, list[Any] | None]] = defaultdict(dict)
    has_masks = False
    for one in _objects(content.get("annotations")):
        key, caption, name = _key(one.get("image_id")), one.get("caption"), names.get(_key(one.get("category_id")))
        if isinstance(caption, str):
            asked[key].setdefault(caption, None)
        elif isinstance(name, str):
            found = asked[key].setdefault(name, [])
            if found is not None:
                found.append(one.get("segmentation"))
                has_masks = has_masks or bool(one.get("segmentation"))
    made = [_image(one, asked.get(_key(one.get("id")), {}), file) for one in _objects(images)]
    pieces: list[Piece] = [
        CocoPiece(file=file, number=number, images=tuple(some))
        for number, some in enumerate(chunks(made, _IMAGES_A_PIECE))
    ]
    return pieces, has_masks


def _read(file: SourceFile, options: Options) -> dict[str, Any]:
    if file.size > MAX_JSON_BYTES:
        raise ValueError(f"{file.path}: is larger than {MAX_JSON_BYTES >> 30} GiB; split it by images")
    with RangeFile(file.path, options) as raw:
        try:
            content = json.loads(raw.read())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file.path}: is not JSON: {str(error)[:200]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file.path}: is no COCO json: it must hold an object")
    return content


def _image(one: dict[str, Any], asked: dict[str, list[Any] | None], file: SourceFile) -> CocoImage:
    name = one.get("file_name") or one.get("coco_url")
    if not isinstance(name, str):
        raise ValueError(f"{file.path}: image {one.get('id')!r} has no file_name")
    height, width = one.get("height"), one.get("width")
    is_size = isinstance(height, int) and isinstance(width, int) and 0 < height * width <= _MAX_PIXELS and height > 0
    return CocoImage(
        image_id=_key(one.get("id")) or name,
        file_name=name,
        size_hw=(height, width) if is_size else None,  # type: ignore[arg-type]
        asked=tuple((phrase, None if found is None else tuple(found)) for phrase, found in asked.items()),
    )


def _mask(image: CocoImage, segmentations: tuple[Any, ...] | None, notes: Notes) -> EncodedMask | None:
    """All objects of a category together; None where one of them has no mask, since then it is not all."""
    if not segmentations:
        return None
    found = []
    for one in segmentations:
        if not one:
            return None
        try:
            if image.size_hw is None:
                raise ValueError("no size")
            mask = parse_mask(one, image.size_hw)
        except ValueError:
            notes.add("categories have a segmentation that is no mask of their image's size", image.file_name)
            return None
        if mask is None:
            return None
        found.append(mask)
    return union(found)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _key(value: Any) -> str:
    return str(value) if isinstance(value, int | str) else ""
