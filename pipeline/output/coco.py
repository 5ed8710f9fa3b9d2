"""Writes COCO files that pycocotools, supervision, datumaro, CVAT and FiftyOne import without loss of masks.

What importers insist on, and this module therefore holds to: integer ids from 1 that are unique over all parts,
`iscrowd` 0, a tight `bbox`, no empty mask (one aborts a whole CVAT import), custom data only as flat `attributes`,
files of at most 25 MB. The same calls give the same bytes.
"""

import json
import math
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.output.names import is_plain

CATEGORY_NAME = "object"
# CVAT stores an attribute's value in 4,096 characters.
MAX_PHRASE_CHARS = 4096

_CATEGORY_ID = 1
_LICENSES = [{"id": 0, "name": "", "url": ""}]
_CATEGORIES = [{"id": _CATEGORY_ID, "name": CATEGORY_NAME, "supercategory": ""}]


@dataclass(frozen=True, kw_only=True)
class CocoAnnotation:
    """One mask with the phrase that asked for it and its score in [0, 1]."""

    mask: EncodedMask
    phrase: str
    score: float


@dataclass(frozen=True, kw_only=True)
class CocoSummary:
    """What was written. `num_empty_masks` were left out on purpose; their images keep their entries."""

    parts: int
    images: int
    annotations: int
    num_empty_masks: int


class CocoWriter:
    """Streams images into ``part-00000.json``, ``part-00001.json``, …

    A part is buffered, encoded, until the next image would take it over `max_part_bytes`, so memory is bounded by one
    part and an image's annotations are never split. Only an image that is larger than a part by itself makes a larger
    file. There is always at least one part, if only an empty one.

    `open_part` gets a part's name and returns a stream, which is closed when the part is complete.
    """

    def __init__(
        self,
        open_part: Callable[[str], BinaryIO],
        *,
        max_part_bytes: int = 20_000_000,
        info: dict[str, Any] | None = None,
    ) -> None:
        if max_part_bytes < 1:
            raise ValueError(f"max_part_bytes: must be positive, got {max_part_bytes}")
        self._open_part = open_part
        self._max_part_bytes = max_part_bytes
        self._head = b'{"info":%s,"licenses":%s,"categories":%s,"images":[' % tuple(
            map(_encode, (info or {}, _LICENSES, _CATEGORIES))
        )
        self._num_parts = self._num_images = self._num_annotations = self._num_empty_masks = 0
        self._summary: CocoSummary | None = None
        self._start_part()

    def add_image(self, *, file_name: str, height: int, width: int, annotations: Sequence[CocoAnnotation]) -> None:
        """Add an image, upright size in pixels, with all of its annotations. Ids are given in the order of the calls.

        Raises ValueError when the name is not a plain relative path or, without its extension, is taken in this part
        (CVAT goes by that), when a mask has another size than the image, or when a score is not a number in [0, 1].
        """
        encoded = encode_annotations(annotations, height, width)
        self.add_encoded(file_name=file_name, height=height, width=width, annotations=encoded)
        self._num_empty_masks += len(annotations) - len(encoded)

    def add_encoded(self, *, file_name: str, height: int, width: int, annotations: Sequence[bytes]) -> None:
        """The same with annotations from `encode_annotations`. Raises ValueError as `add_image` does."""
        if self._summary is not None:
            raise ValueError("add_image: the writer is closed")
        _check_file_name(file_name)
        image_id, first_id = self._num_images + 1, self._num_annotations + 1
        image = _encode(_image_entry(image_id, file_name, height, width))
        entries = [
            b'{"id":%d,"image_id":%d%b' % (first_id + index, image_id, tail) for index, tail in enumerate(annotations)
        ]
        num_bytes = len(image) + sum(map(len, entries)) + len(entries) + 1
        if self._images and self._num_bytes + num_bytes > self._max_part_bytes:
            self._write_part()
        self._claim_stem(file_name)
        self._images.append(image)
        self._annotations.extend(entries)
        self._num_bytes += num_bytes
        self._num_images += 1
        self._num_annotations += len(entries)

    def close(self) -> CocoSummary:
        """Write what is left. Calling it again changes nothing."""
        if self._summary is None:
            if self._images or self._num_parts == 0:
                self._write_part()
            self._summary = CocoSummary(
                parts=self._num_parts,
                images=self._num_images,
                annotations=self._num_annotations,
                num_empty_masks=self._num_empty_masks,
            )
        return self._summary

    def _claim_stem(self, file_name: str) -> None:
        stem = posixpath.splitext(file_name)[0]
        if stem in self._stems:
            raise ValueError(f"file_name: {file_name!r} has, without its extension, the name of another image")
        self._stems.add(stem)

    def _start_part(self) -> None:
        self._images: list[bytes] = []
        self._annotations: list[bytes] = []
        self._stems: set[str] = set()
        self._num_bytes = len(self._head) + len(b'],"annotations":[]}\n')

    def _write_part(self) -> None:
        with self._open_part(f"part-{self._num_parts:05d}.json") as stream:
            stream.write(self._head)
            stream.write(b",".join(self._images))
            stream.write(b'],"annotations":[')
            stream.write(b",".join(self._annotations))
            stream.write(b"]}\n")
        self._num_parts += 1
        self._start_part()


def encode_annotations(annotations: Sequence[CocoAnnotation], height: int, width: int) -> list[bytes]:
    """What follows the ids in the entries of an image's annotations; empty masks are left out.

    Raises ValueError when a mask has another size than the image, or when a score is not a number in [0, 1].
    """
    written = [annotation for annotation in annotations if annotation.mask.area > 0]
    for annotation in written:
        _check_annotation(annotation, height, width)
    return [b"," + _encode(_annotation_entry(annotation))[1:] for annotation in written]


def cvat_labels() -> bytes:
    """Labels of a CVAT project as JSON, to paste under "Raw" in its constructor.

    CVAT drops every attribute that is not declared. Phrase and score are mutable so that a reviewer can correct the
    one and filter by the other.
    """
    attributes: list[dict[str, Any]] = [
        {"name": "phrase", "mutable": True, "input_type": "text", "default_value": "", "values": [""]},
        {
            "name": "score",
            "mutable": True,
            "input_type": "number",
            "default_value": "0",
            "values": ["0", "1", "0.000001"],
        },
        _choice("source", ["auto", "manual"]),
        _choice("review", ["needs_review", "accepted", "rejected"]),
    ]
    labels = [{"name": CATEGORY_NAME, "color": "#33ddff", "type": "any", "attributes": attributes}]
    return json.dumps(labels, indent=2).encode("ascii") + b"\n"


def clean_phrase(phrase: str) -> str:
    """A phrase that every importer stores: control characters as spaces (PostgreSQL, under CVAT, refuses NUL), lone
    surrogates replaced, at most 4,096 characters. Right-to-left and zero-width characters stay: scripts and emoji
    need them."""
    if len(phrase) > MAX_PHRASE_CHARS:
        phrase = phrase[: MAX_PHRASE_CHARS - 1] + "…"
    return "".join(_clean_character(char) for char in phrase)


def _clean_character(char: str) -> str:
    code = ord(char)
    if code < 32 or 127 <= code < 160:
        return " "
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else char


def _choice(name: str, values: list[str]) -> dict[str, Any]:
    return {"name": name, "mutable": True, "input_type": "select", "default_value": values[0], "values": values}


def _image_entry(image_id: int, file_name: str, height: int, width: int) -> dict[str, Any]:
    if height < 1 or width < 1:
        raise ValueError(f"height, width: must be positive, got {height}, {width}")
    return {"id": image_id, "file_name": file_name, "width": int(width), "height": int(height), "license": 0}


def _annotation_entry(annotation: CocoAnnotation) -> dict[str, Any]:
    """All of an entry but its two ids."""
    mask = annotation.mask
    return {
        "category_id": _CATEGORY_ID,
        "segmentation": mask.as_coco(),
        "area": float(mask.area),
        "bbox": [float(value) for value in mask.bbox_xywh],
        "iscrowd": 0,  # 1 would make COCO evaluation ignore the mask
        "score": round(float(annotation.score), 6),
        "attributes": {"phrase": clean_phrase(annotation.phrase), "source": "auto", "review": "needs_review"},
    }


def _check_annotation(annotation: CocoAnnotation, height: int, width: int) -> None:
    if annotation.mask.size_hw != (height, width):
        raise ValueError(f"mask: size {annotation.mask.size_hw} differs from the image's {(height, width)}")
    score = float(annotation.score)
    if not math.isfinite(score) or not 0 <= score <= 1:
        raise ValueError(f"score: must be a number in [0, 1], got {score}")


def _check_file_name(name: str) -> None:
    parts = name.split("/")
    if not all(map(is_plain, name)) or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"file_name: must be a plain relative path, got {name[:200]!r}")


def _encode(value: Any) -> bytes:
    # ASCII only: no reader's choice of encoding, no line separator and no direction mark can change what is read.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
