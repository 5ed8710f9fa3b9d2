"""Writes COCO files that pycocotools, supervision, datumaro, CVAT and FiftyOne import without loss of masks.

What importers insist on, and this module therefore holds to: integer ids from 1 that are unique over all parts,
`iscrowd` 0, a tight `bbox`, no empty mask (one aborts a whole CVAT import), custom data only as flat `attributes`,
files of at most 25 MB. The same calls give the same bytes.
"""

import colorsys
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.output.names import is_plain

MAX_PART_BYTES = 20_000_000
# CVAT stores an attribute's value in 4,096 characters.
MAX_PHRASE_CHARS = 4096

_LICENSES = [{"id": 0, "name": "", "url": ""}]
_BETWEEN, _END = b'],"annotations":[', b"]}\n"
_IDS = b'{"id":%d,"image_id":%d'
_UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class CocoAnnotation:
    """One mask with the phrase that asked for it, its score in [0, 1], the id of its class and its record's key.

    `source` and `review` are one of the values that `cvat_labels` declares.
    """

    mask: EncodedMask
    phrase: str
    score: float
    category_id: int = OBJECT.id
    record: str = ""
    source: str = "auto"
    review: str = "needs_review"


class Place(NamedTuple):
    """Where an image stands: whether a new part begins with it, its entry, its id and that of its first annotation."""

    begins_part: bool
    entry: bytes
    image_id: int
    first_id: int


class CocoLayout:
    """Gives images and annotations their ids and parts, in the order of the calls.

    A part is full when the next image would take it over `max_part_bytes`; an image's annotations are never split, and
    an image that is larger than a part by itself gets one of its own.
    """

    def __init__(self, max_part_bytes: int = MAX_PART_BYTES, head: bytes | None = None) -> None:
        if max_part_bytes < 1:
            raise ValueError(f"max_part_bytes: must be positive, got {max_part_bytes}")
        self._max_part_bytes = max_part_bytes
        self._empty_bytes = len(head or part_head()) + len(_BETWEEN) + len(_END)
        self.num_images = self.num_annotations = 0
        self._is_begun, self._num_bytes = False, self._empty_bytes
        self._names: set[str] = set()

    def place(
        self, *, file_name: str, height: int, width: int, sizes: Sequence[int], source_id: str | None = None
    ) -> Place:
        """Place an image, upright size in pixels, with annotations of these sizes in bytes, see `encode_annotations`.

        `source_id` is its id in the input.

        Raises ValueError when the name is not a plain relative path or is taken in this part.
        """
        _check_file_name(file_name)
        image_id, first_id = self.num_images + 1, self.num_annotations + 1
        entry = _image_entry(image_id, file_name, height, width, source_id)
        ids = (len(_IDS % (first_id + index, image_id)) for index in range(len(sizes)))
        num_bytes = len(entry) + sum(ids) + sum(sizes) + len(sizes) + 1
        begins_part = self._is_begun and self._num_bytes + num_bytes > self._max_part_bytes
        if begins_part:
            self._names, self._num_bytes = set(), self._empty_bytes
        if file_name in self._names:
            raise ValueError(f"file_name: {file_name!r} is the name of another image")
        self._names.add(file_name)
        self._is_begun = True
        self._num_bytes += num_bytes
        self.num_images += 1
        self.num_annotations += len(sizes)
        return Place(begins_part=begins_part, entry=entry, image_id=image_id, first_id=first_id)


def part_name(number: int) -> str:
    """Name of a part, from 0."""
    return f"part-{number:05d}.json"


def part_head(info: dict[str, Any] | None = None, categories: Sequence[Category] = (OBJECT,)) -> bytes:
    """How a part begins."""
    classes = [one.as_coco() for one in categories]
    return b'{"info":%s,"licenses":%s,"categories":%s,"images":[' % tuple(
        map(_encode, (info or {}, _LICENSES, classes))
    )


def numbered(place: Place, annotations: Iterable[bytes]) -> Iterator[bytes]:
    """The annotations of an image, from `encode_annotations`, with their ids."""
    for index, annotation in enumerate(annotations):
        yield _IDS % (place.first_id + index, place.image_id) + annotation


def write_part(stream: BinaryIO, head: bytes, images: Iterable[bytes], annotations: Iterable[bytes]) -> None:
    """A part with entries of images and of their annotations."""
    stream.write(head)
    stream.write(b",".join(images))
    stream.write(_BETWEEN)
    stream.write(b",".join(annotations))
    stream.write(_END)


def encode_annotations(annotations: Sequence[CocoAnnotation], height: int, width: int) -> list[bytes]:
    """What follows the ids in the entries of an image's annotations; empty masks are left out.

    Raises ValueError when a mask has another size than the image, or when a score is not a number in [0, 1].
    """
    written = [annotation for annotation in annotations if annotation.mask.area > 0]
    for annotation in written:
        _check_annotation(annotation, height, width)
    return [_annotation_entry(annotation) for annotation in written]


def cvat_labels(categories: Sequence[Category] = (OBJECT,)) -> bytes:
    """Labels of a CVAT project, one for each class, as JSON, to paste under "Raw" in its constructor.

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
        {"name": "record", "mutable": False, "input_type": "text", "default_value": "", "values": [""]},
        _choice("source", ["auto", "manual"]),
        _choice("review", ["needs_review", "accepted", "rejected"]),
    ]
    labels = [
        {"name": one.name, "color": _color(number), "type": "any", "attributes": attributes}
        for number, one in enumerate(categories)
    ]
    return json.dumps(labels, indent=2).encode("ascii") + b"\n"


def _color(number: int) -> str:
    """A color of its own for each label: hues a golden angle apart, from CVAT's own blue on."""
    hue = (0.522 + number * 0.381966) % 1.0
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, 0.8, 1.0))


def clean_phrase(phrase: str) -> str:
    """A phrase that every importer stores: control characters as spaces (PostgreSQL, under CVAT, refuses NUL), lone
    surrogates replaced, at most 4,096 characters. Right-to-left and zero-width characters stay: scripts and emoji
    need them."""
    if len(phrase) > MAX_PHRASE_CHARS:
        phrase = phrase[: MAX_PHRASE_CHARS - 1] + "…"
    return _UNCLEAN.sub(lambda found: "\ufffd" if found[0] >= "\ud800" else " ", phrase)


def _choice(name: str, values: list[str]) -> dict[str, Any]:
    return {"name": name, "mutable": True, "input_type": "select", "default_value": values[0], "values": values}


def _image_entry(image_id: int, file_name: str, height: int, width: int, source_id: str | None) -> bytes:
    if height < 1 or width < 1:
        raise ValueError(f"height, width: must be positive, got {height}, {width}")
    size = b'"width":%d,"height":%d' % (width, height)
    source = b"" if source_id is None else b',"source_id":' + _encode(source_id)
    return b'{"id":%d,"file_name":%s,%s,"license":0%s}' % (image_id, _encode(file_name), size, source)


def _annotation_entry(annotation: CocoAnnotation) -> bytes:
    """All of an entry but its two ids. `iscrowd` 1 would make COCO evaluation ignore the mask."""
    mask, phrase = annotation.mask, clean_phrase(annotation.phrase)
    (height, width), (left, top, box_width, box_height) = mask.size_hw, map(float, mask.bbox_xywh)
    return (
        f',"category_id":{annotation.category_id},"segmentation":{{"size":[{height},{width}],"counts":{json.dumps(mask.counts)}}}'
        f',"area":{float(mask.area)!r},"bbox":[{left!r},{top!r},{box_width!r},{box_height!r}],"iscrowd":0'
        f',"score":{round(float(annotation.score), 6)!r}'
        f',"attributes":{{"phrase":{json.dumps(phrase)},"record":{json.dumps(annotation.record)}'
        f',"source":"{annotation.source}","review":"{annotation.review}"}}}}'
    ).encode("ascii")


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
