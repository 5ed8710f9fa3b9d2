"""Folders of images, and folders of images with labels beside them as YOLO has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.output.parallel import chunks
from litelvlm.pipeline.plain_yaml import load_plain_yaml
from litelvlm.pipeline.prepare.pieces import Notes, Options, Piece, SourceFile, text_of
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.table.true_masks import parse_mask

_IMAGES_A_PIECE = 500
_MAX_DESCRIPTION_BYTES = 1 << 20
_MAX_LABEL_BYTES = 16 << 20
_FEWEST_COORDINATES = 6  # of a polygon; four are a box


@dataclass(frozen=True, kw_only=True)
class FolderPiece:
    """Some images of a folder. Ids are their paths below it."""

    root: str
    files: tuple[SourceFile, ...]

    @property
    def identity(self) -> str:
        return "|".join(file.identity for file in self.files)

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """An image each, with nothing asked of it."""
        for file in self.files:
            name = below(file.path, self.root)
            yield PreparedRow(image_id=name, path=name)


def folder_pieces(root: str, files: Sequence[SourceFile]) -> list[Piece]:
    """The images of a folder."""
    return [FolderPiece(root=root, files=tuple(some)) for some in chunks(files, _IMAGES_A_PIECE)]


@dataclass(frozen=True, kw_only=True)
class YoloPiece:
    """Some images with their labels. The phrases of an image are the names of its classes, each once."""

    root: str
    files: tuple[SourceFile, ...]
    classes: tuple[str, ...]
    options: Options

    @property
    def identity(self) -> str:
        return "|".join((*self.classes, *(file.identity for file in self.files)))

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """An image each. Boxes say what is there and give no mask; polygons of a class are one mask."""
        fetcher = ImageFetcher(UriPolicy(image_root=self.root, max_bytes=256 << 20), self.options)
        for file in self.files:
            name = below(file.path, self.root)
            outlines = self._outlines(fetcher, name, notes)
            size_hw = _size_of(fetcher, name, notes) if any(outlines.values()) else None
            masks = tuple(_mask(polygons, size_hw, name, notes) for polygons in outlines.values())
            phrases = tuple(self.classes[number] for number in outlines)
            yield PreparedRow(image_id=name, path=name, phrases=phrases, masks=masks)

    def _outlines(self, fetcher: ImageFetcher, name: str, notes: Notes) -> dict[int, list[list[float]]]:
        """Class -> polygons with coordinates from 0 to 1; an empty list where one of them is only a box."""
        try:
            text = text_of(fetcher.fetch(label_path(name))) or ""
        except FetchError as error:
            if error.code != "not_found":
                notes.add("label files cannot be read", name)
            return {}
        found: dict[int, list[list[float]]] = {}
        boxes = set[int]()
        for line in text[:_MAX_LABEL_BYTES].splitlines():
            label = _label(line, len(self.classes))
            if label is None:
                if line.strip():
                    notes.add("lines of labels make no sense and are left out", label_path(name))
                continue
            number, coordinates = label
            found.setdefault(number, []).append(coordinates)
            if len(coordinates) < _FEWEST_COORDINATES:
                boxes.add(number)
        return {number: [] if number in boxes else polygons for number, polygons in found.items()}


def yolo_pieces(root: str, files: Sequence[SourceFile], classes: Sequence[str], options: Options) -> list[Piece]:
    """The images of a YOLO data set."""
    return [
        YoloPiece(root=root, files=tuple(some), classes=tuple(classes), options=options)
        for some in chunks(files, _IMAGES_A_PIECE)
    ]


def yolo_classes(name: str, data: bytes) -> list[str]:
    """Names of the classes, in the order of their numbers, from `data.yaml` or `classes.txt`.

    Raises ValueError saying what is wrong with the file.
    """
    text = text_of(data)
    if text is None or len(data) > _MAX_DESCRIPTION_BYTES:
        raise ValueError(f"{name}: is not text of at most {_MAX_DESCRIPTION_BYTES} bytes")
    if name.endswith(".txt"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        values = load_plain_yaml(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    names = values.get("names") if isinstance(values, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(one, str | int | float) for one in names):
        raise ValueError(f"{name}: `names` must list the classes, or give one for each number from 0")
    return [str(one) for one in names]


def label_path(image: str) -> str:
    """Where YOLO looks for an image's labels: `images/` as `labels/`, the last one of that name, and `.txt`."""
    head, folder, tail = f"/{image}".rpartition("/images/")
    stem = re.sub(r"\.[^./]*$", "", tail if folder else image)
    return f"{head}/labels/{stem}.txt".lstrip("/") if folder else f"labels/{stem}.txt"


def below(path: str, root: str) -> str:
    """A path relative to a root that it lies below."""
    return path.removeprefix(root).lstrip("/")


def _label(line: str, num_classes: int) -> tuple[int, list[float]] | None:
    words = line.split()
    try:
        number, coordinates = int(words[0]), [float(word) for word in words[1:]]
    except (ValueError, IndexError):
        return None
    fits = len(coordinates) in (4, 5) or (len(coordinates) >= _FEWEST_COORDINATES and len(coordinates) % 2 == 0)
    if not (0 <= number < num_classes and fits and all(-1 <= value <= 2 for value in coordinates)):
        return None
    return number, coordinates


def _size_of(fetcher: ImageFetcher, name: str, notes: Notes) -> tuple[int, int] | None:
    try:
        return decode_image(fetcher.fetch(name), needed_size=lambda _: (1, 1)).size_hw
    except (FetchError, ImageError):
        notes.add("images cannot be read, so that their labels are no masks", name)
        return None


def _mask(polygons: list[list[float]], size_hw: tuple[int, int] | None, name: str, notes: Notes) -> EncodedMask | None:
    if not polygons or size_hw is None:
        return None
    height, width = size_hw
    scaled = [np.clip(np.reshape(one, (-1, 2)) * (width, height), 0, (width, height)) for one in polygons]
    try:
        return parse_mask([one.reshape(-1).tolist() for one in scaled], size_hw)
    except ValueError:
        notes.add("labels are no masks", name)
        return None


def union(masks: Sequence[EncodedMask]) -> EncodedMask:
    """One mask of several of one size."""
    if len(masks) == 1:
        return masks[0]
    merged = coco_mask.merge([{"size": list(one.size_hw), "counts": one.counts.encode("ascii")} for one in masks])
    return EncodedMask(
        size_hw=masks[0].size_hw,
        counts=merged["counts"].decode("ascii"),
        area=int(coco_mask.area(merged)),
        bbox_xywh=tuple(coco_mask.toBbox(merged).tolist()),
    )
