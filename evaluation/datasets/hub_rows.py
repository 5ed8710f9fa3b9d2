"""A row of a published layout, or of any table with a column of masks, to an image with expressions.

Rows are dicts as Arrow gives them. Every reader raises ValueError naming the field that it cannot use, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from litelvlm.evaluation.datasets.fields import field, id_field, json_field, shown, size_field, within
from litelvlm.evaluation.datasets.segmentation import read_segmentation
from litelvlm.evaluation.datasets.truth import Expression, TrueImage
from litelvlm.evaluation.records import KINDS, SENTENCE_IDS
from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.rows import read_row
from litelvlm.pipeline.table.true_masks import parse_mask, parse_masks

_MAX_BOX_ERROR_PX = 2.0
#: Columns of this project's own files of truth that any table may have.
OPTIONAL_COLUMNS = (SENTENCE_IDS, KINDS, "split")
Row = dict[str, Any]
#: A row and its number, counted over all files, to its image.
RowReader = Callable[[Row, int], TrueImage]


def read_lmms(row: Row, number: int) -> TrueImage:
    """A row of `lmms-lab/RefCOCO` and its siblings."""
    data, name, question = _embedded(row), field(row, "file_name", str), id_field(row, "question_id")
    size_hw = _size_of(data)
    with within("segmentation"):
        # A crowd's run lengths have no place in a list of coordinates: what is empty is not known.
        mask = parse_mask(row["segmentation"], size_hw) if row["segmentation"] != [] else None
    if mask is not None and not _spans(mask, row["bbox"]):
        mask = None
    texts = enumerate(_texts(row, "answer"))
    sentences = tuple(Expression(text=text, mask=mask, sentence_id=f"{question}/{index}") for index, text in texts)
    return TrueImage(image_id=_coco_image(name), path=name, data=data, expressions=sentences)


def read_jxu(row: Row, number: int) -> TrueImage:
    """A row of `jxu124/refcoco` and its siblings."""
    annotation = json_field(row, "raw_anns")
    with within("raw_image_info"):
        size_hw = size_field(json_field(row, "raw_image_info"))
    with within("raw_anns: segmentation"):
        mask = read_segmentation(annotation.get("segmentation"), size_hw)
    sentences = []
    for place, one in _entries(row, "sentences"):
        with within(place):
            text, sentence_id = field(one, "sent", str), str(id_field(one, "sent_id"))
        sentences.append(Expression(text=text, mask=mask, sentence_id=sentence_id))
    name = field(row, "image_path", str).rsplit("/", 1)[-1]
    image_id, split = str(id_field(row, "image_id")), _text_or_none(row.get("split"))
    return TrueImage(image_id=image_id, path=name, data=None, expressions=tuple(sentences), split=split)


def read_moondream(row: Row, number: int) -> TrueImage:
    """A row of `moondream/refcoco-m`."""
    data, name = _embedded(row), field(row, "file_name", str)
    size_hw, sentences = _size_of(data), []
    for place, sample in _entries(row, "samples"):
        with within(place):
            one, kind = id_field(sample, "id"), _text_or_none(sample.get("category"))
            if "mask" not in sample:
                raise ValueError("mask: no such field")
            mask = parse_mask(sample["mask"], size_hw)
            texts = enumerate(_texts(sample, "sentences"))
            sentences += [Expression(text=text, mask=mask, sentence_id=f"{one}/{n}", kind=kind) for n, text in texts]
    image_id = str(id_field(row, "image_id"))
    return TrueImage(image_id=image_id, path=name, data=data, expressions=tuple(sentences))


def any_reader(mapping: ColumnMapping, mask_column: str) -> RowReader:
    """Reads rows of any table: image, phrases and id as `jobs/annotate.py` finds them, masks as `parse_masks` does.

    Images must be embedded: the size of an image elsewhere is not known here. What this project's own files of truth
    say of each expression, its id and its kind, is kept where it is a list as long as the phrases, and so is `split`.
    """

    def read(row: Row, number: int) -> TrueImage:
        given = read_row(row, mapping, default_id="")
        error = given.error or next((f"{error} (phrase {at})" for at, error in _numbered(given.phrase_errors)), None)
        if error is not None:
            raise ValueError(error)
        if given.image_bytes is None:
            raise ValueError("the image is not embedded; evaluate such a table as it is, with --mask-column")
        size_hw = _size_of(given.image_bytes)
        with within(mask_column):
            masks = parse_masks(row[mask_column], size_hw, len(given.phrases))
        made_up = [f"{number}/{index}" for index in range(len(given.phrases))]
        ids = [one or other for one, other in zip(_parallel(row, SENTENCE_IDS, made_up), made_up, strict=True)]
        facts = zip(given.phrases, masks, ids, _parallel(row, KINDS, [None] * len(made_up)), strict=True)
        return TrueImage(
            image_id=given.image_id,
            path=None,
            data=given.image_bytes,
            expressions=tuple(Expression(text=text, mask=mask, sentence_id=i, kind=k) for text, mask, i, k in facts),
            split=_text_or_none(row.get("split")),
        )

    return read


def _numbered(errors: tuple[str | None, ...]) -> list[tuple[int, str]]:
    return [(place, error) for place, error in enumerate(errors) if error is not None]


def _parallel(row: Row, name: str, otherwise: list[Any]) -> list[Any]:
    """A column of texts that runs parallel to the phrases, else `otherwise`."""
    cell = row.get(name)
    if not isinstance(cell, list) or len(cell) != len(otherwise):
        return otherwise
    return cell if all(value is None or isinstance(value, str) for value in cell) else otherwise


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(row: Row, name: str) -> list[str]:
    """A field that is a list of texts."""
    return [field({place: text}, place, str) for place, text in _entries(row, name)]


def _entries(row: Row, name: str) -> Iterator[tuple[str, Any]]:
    """The entries of a field that is a list, each with its place."""
    return ((f"{name}: entry {number}", entry) for number, entry in enumerate(field(row, name, list)))


def _embedded(row: Row) -> bytes:
    image = field(row, "image", dict)
    with within("image"):
        data: bytes = field(image, "bytes", bytes)
        return data


def _size_of(data: bytes) -> tuple[int, int]:
    try:
        return decode_image(data, needed_size=lambda _: (1, 1)).size_hw
    except ImageError as error:
        raise ValueError(f"image: {error}") from None


def _coco_image(file_name: str) -> str:
    """`COCO_train2014_000000581857_16.jpg`, the name of an object, to its image's `COCO_train2014_000000581857`."""
    stem = file_name.rsplit(".", 1)[0]
    return "_".join(stem.split("_")[:3]) if stem.startswith("COCO_") else stem


def _spans(mask: EncodedMask, box_xywh: Any) -> bool:
    """Whether a mask reaches from edge to edge of the annotation's box, x, y, width, height in pixels."""
    if not isinstance(box_xywh, list) or len(box_xywh) != 4 or not all(map(_is_finite, box_xywh)):
        raise ValueError(f"bbox: {shown(box_xywh)} instead of four finite numbers, x, y, width and height")
    left, top, width, height = mask.bbox_xywh
    edges = left, top, left + width, top + height
    x, y, box_width, box_height = box_xywh
    wanted = x, y, x + box_width, y + box_height
    return all(abs(edge - want) <= _MAX_BOX_ERROR_PX for edge, want in zip(edges, wanted, strict=True))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
