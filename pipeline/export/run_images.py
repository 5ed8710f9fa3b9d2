"""What a finished run says of its images, a COCO part at a time."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.ontology import Category
from litelvlm.pipeline.schemas import ANNOTATIONS_DIR, SUCCESS_NAME
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class MaskedObject:
    """An annotation. `class_index` is the place of its class among the run's, from 0; `record` is its key there."""

    id: int
    class_index: int
    mask: EncodedMask
    phrase: str
    score: float
    record: str

    @property
    def attributes(self) -> dict[str, str]:
        """What is told of it wherever a format has place."""
        return {"phrase": self.phrase, "record": self.record}


@dataclass(frozen=True, kw_only=True)
class UnmaskedPhrase:
    """A phrase that was asked of an image and has no mask: its record's key and status, and why, in words."""

    phrase: str
    record: str
    status: str
    reason: str | None = None


@dataclass(kw_only=True)
class MaskedImage:
    """An image with its annotations, upright size in pixels.

    Attributes:
        id, source_id: of the COCO file, and of the input.
        data: the encoded image where it was read again.
        url: where a tool finds it, if not beside its annotations.
        unmasked: the phrases without a mask, for formats that show them to people.
    """

    id: int
    source_id: str
    file_name: str
    height: int
    width: int
    objects: list[MaskedObject]
    data: bytes | None = None
    url: str | None = None
    unmasked: list[UnmaskedPhrase] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """The name without its extension, which is unique in a run."""
        return posixpath.splitext(self.file_name)[0]


def finished_parts(storage: Storage) -> list[str]:
    """Names of the COCO parts of a run, in order. Raises ValueError where it is not finished."""
    if not storage.exists(SUCCESS_NAME):
        raise ValueError(f"{storage.root!r} holds no finished run: there is no {SUCCESS_NAME}")
    return sorted(name for name in storage.list(ANNOTATIONS_DIR) if name.endswith(".json"))


def read_classes(storage: Storage, part: str) -> tuple[Category, ...]:
    """The classes of a run."""
    return _classes(_load(storage, part))


def read_images(storage: Storage, part: str, min_score: float) -> Iterator[MaskedImage]:
    """The images of a part in their order, with the masks that have at least this score.

    Raises:
        DataError: the part is damaged.
    """
    content = _load(storage, part)
    places = {category.id: index for index, category in enumerate(_classes(content))}
    found: dict[int, list[MaskedObject]] = {}
    try:
        for one in content["annotations"]:
            if one["score"] >= min_score:
                found.setdefault(one["image_id"], []).append(_object(one, places))
        for image in content["images"]:
            yield MaskedImage(
                id=image["id"],
                source_id=image["source_id"],
                file_name=image["file_name"],
                height=image["height"],
                width=image["width"],
                objects=found.get(image["id"], []),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{part} is damaged: {type(error).__name__}: {error}") from error


def _object(one: dict[str, Any], places: dict[int, int]) -> MaskedObject:
    height, width = one["segmentation"]["size"]
    mask = EncodedMask(
        size_hw=(height, width),
        counts=one["segmentation"]["counts"],
        area=int(one["area"]),
        bbox_xywh=tuple(one["bbox"]),
    )
    decode_mask(mask)  # what importers and pycocotools would read as noise is told here
    return MaskedObject(
        id=one["id"],
        class_index=places[one["category_id"]],
        mask=mask,
        phrase=one["attributes"]["phrase"],
        score=one["score"],
        record=one["attributes"]["record"],
    )


def _load(storage: Storage, part: str) -> dict[str, Any]:
    try:
        content = json.loads(storage.read_bytes(part))
    except ValueError as error:
        raise DataError(f"{part} is damaged: it is no JSON") from error
    if not isinstance(content, dict):
        raise DataError(f"{part} is damaged: it is no JSON object")
    return content


def _classes(content: dict[str, Any]) -> tuple[Category, ...]:
    return tuple(
        Category(id=one["id"], name=one["name"], supercategory=one.get("supercategory") or "")
        for one in content["categories"]
    )
