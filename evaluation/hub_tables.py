"""Referring segmentation as Parquet on the Hugging Face hub, and any other Parquet with a column of masks.

Three published layouts are known by their columns (as their dataset cards declare them):

* `lmms-lab/RefCOCO`, `-RefCOCOplus`, `-RefCOCOg`: one row per object. `answer` is the list of its expressions,
  `segmentation` one flat list of numbers x, y, x, y, …, `bbox` x, y, width, height, `image` embedded. Neither the card
  nor the column tells whether an object of several polygons keeps all of them, so a row whose polygon does not span
  its `bbox` is taken for one whose truth is not known. The split `val` has 8,811 rows: UNC's 3,811 references and 5,000
  more, as many as Google's val has; only `testA` and `testB` have the size of the published splits.
* `jxu124/refcoco`, `-refcocoplus`, `-refcocog`: one row per reference. `sentences` are structs, `raw_anns` and
  `raw_image_info` are COCO's annotation and image as JSON texts, `image_path` names a file that is not part of it. The
  split called `test` of refcoco is UNC's testA.
* `moondream/refcoco-m`: one row per image. `samples` are objects with `sentences` and `mask`, run lengths of
  `{size, counts}`; a cleaned part of RefCOCO val with masks of its own, so its numbers compare with no published table.

Everything else is read by column names, see `read_any`. Adjacent rows of one image are joined.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.truth import Expression, TrueImage
from pipeline.columns import ColumnMapping, detect_columns
from pipeline.ground_truth import parse_mask, parse_masks
from pipeline.images import ImageError, decode_image
from pipeline.masks import EncodedMask
from pipeline.range_file import RangeFile
from pipeline.rows import read_row

_BATCH_ROWS = 8
_MAX_BOX_ERROR_PX = 2.0
Row = dict[str, Any]
Reader = Callable[[Row], TrueImage]

LMMS_COLUMNS = frozenset(("question_id", "image", "answer", "segmentation", "bbox", "file_name"))
JXU_COLUMNS = frozenset(("sentences", "raw_anns", "raw_image_info", "image_path", "ref_id", "split"))
MOONDREAM_COLUMNS = frozenset(("image", "image_id", "file_name", "samples"))


def read_hub_tables(
    paths: list[str],
    options: dict[str, Any],
    *,
    split: str | None = None,
    mask_column: str | None = None,
    image_column: str | None = None,
    phrase_column: str | None = None,
    id_column: str | None = None,
) -> Iterator[TrueImage]:
    """Images of Parquet files in one of the known layouts, or of any layout with `mask_column`. A few rows in memory.

    `split` keeps the rows of that split where the layout has a column for it.

    Raises ValueError for a layout that is not known, naming the columns, and for a row that cannot be read.
    """
    for path in paths:
        with RangeFile(path, options) as file:
            parquet = pq.ParquetFile(file, pre_buffer=False)
            schema = parquet.schema_arrow
            columns = {"image_column": image_column, "phrase_column": phrase_column, "id_column": id_column}
            read = _reader(schema, path, mask_column, columns)
            rows = _rows(parquet, schema, path)
            yield from _joined(_read(rows, read, path, split))


def layout_of(schema: pa.Schema) -> str | None:
    """Which published layout a schema is: `lmms-lab`, `jxu124`, `moondream`, or None."""
    names = set(schema.names)
    known = (("lmms-lab", LMMS_COLUMNS), ("jxu124", JXU_COLUMNS), ("moondream", MOONDREAM_COLUMNS))
    return next((layout for layout, columns in known if columns <= names), None)


def _reader(schema: pa.Schema, path: str, mask_column: str | None, columns: dict[str, str | None]) -> Reader:
    if mask_column is not None:
        if mask_column not in schema.names:
            raise ValueError(
                f"{path}: --mask-column {mask_column}: no such column; there are {', '.join(schema.names)}"
            )
        mapping = detect_columns(schema, **columns)
        return lambda row: read_any(row, mapping, mask_column)
    layout = layout_of(schema)
    if layout is None:
        raise ValueError(
            f"{path}: none of the known layouts; name the column of true masks with --mask-column. "
            f"Columns: {', '.join(schema.names)}"
        )
    return {"lmms-lab": read_lmms, "jxu124": read_jxu, "moondream": read_moondream}[layout]


def _rows(parquet: pq.ParquetFile, schema: pa.Schema, path: str) -> Iterator[Row]:
    for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
        yield from pa.Table.from_batches([batch], schema=schema).to_pylist()


def _read(rows: Iterator[Row], read: Reader, path: str, split: str | None) -> Iterator[TrueImage]:
    for number, row in enumerate(rows):
        if split is not None and isinstance(row.get("split"), str) and row["split"] != split:
            continue
        try:
            yield read(row)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: row {number}: {error}") from error


def _joined(images: Iterator[TrueImage]) -> Iterator[TrueImage]:
    """Neighbouring rows of one image as one."""
    last: TrueImage | None = None
    for image in images:
        if last is not None and (last.image_id, last.data, last.split) == (image.image_id, image.data, image.split):
            expressions = last.expressions + image.expressions
            last = TrueImage(
                image_id=last.image_id, path=last.path, data=last.data, expressions=expressions, split=last.split
            )
            continue
        if last is not None:
            yield last
        last = image
    if last is not None:
        yield last


def read_lmms(row: Row) -> TrueImage:
    """A row of `lmms-lab/RefCOCO` and its siblings."""
    data = row["image"]["bytes"]
    mask = parse_mask(row["segmentation"], _size_of(data))
    if mask is not None and not _spans(mask, row["bbox"]):
        mask = None
    name = str(row["file_name"])
    sentences = [
        Expression(text=text, mask=mask, sentence_id=f"{row['question_id']}/{index}")
        for index, text in enumerate(row["answer"])
    ]
    return TrueImage(image_id=_coco_image(name), path=name, data=data, expressions=tuple(sentences))


def read_jxu(row: Row) -> TrueImage:
    """A row of `jxu124/refcoco` and its siblings."""
    image, annotation = json.loads(row["raw_image_info"]), json.loads(row["raw_anns"])
    size_hw = int(image["height"]), int(image["width"])
    mask = parse_mask(annotation["segmentation"], size_hw)
    sentences = [
        Expression(text=sentence["sent"], mask=mask, sentence_id=str(sentence["sent_id"]))
        for sentence in row["sentences"]
    ]
    name = str(row["image_path"]).rsplit("/", 1)[-1]
    image_id = str(row["image_id"])
    return TrueImage(image_id=image_id, path=name, data=None, expressions=tuple(sentences), split=row["split"])


def read_moondream(row: Row) -> TrueImage:
    """A row of `moondream/refcoco-m`."""
    data = row["image"]["bytes"]
    size_hw = _size_of(data)
    sentences = [
        Expression(text=text, mask=mask, sentence_id=f"{sample['id']}/{index}", kind=sample.get("category"))
        for sample in row["samples"]
        for mask in [parse_mask(sample["mask"], size_hw)]
        for index, text in enumerate(sample["sentences"])
    ]
    name = str(row["file_name"])
    return TrueImage(image_id=str(row["image_id"]), path=name, data=data, expressions=tuple(sentences))


def read_any(row: Row, mapping: ColumnMapping, mask_column: str) -> TrueImage:
    """A row of any table: image, phrases and id as `jobs/annotate.py` finds them, masks as `parse_masks` takes them.

    Images must be embedded: the size of an image elsewhere is not known here.
    """
    given = read_row(row, mapping, default_id="")
    if given.error is not None:
        raise ValueError(given.error)
    if given.image_bytes is None:
        raise ValueError("the image is not embedded; evaluate such a table as it is, with --mask-column")
    masks = parse_masks(row[mask_column], _size_of(given.image_bytes), len(given.phrases))
    pairs = enumerate(zip(given.phrases, masks, strict=True))
    sentences = tuple(Expression(text=text, mask=mask, sentence_id=str(index)) for index, (text, mask) in pairs)
    return TrueImage(image_id=given.image_id, path=None, data=given.image_bytes, expressions=sentences)


def _size_of(data: bytes | None) -> tuple[int, int]:
    try:
        return decode_image(data or b"").size_hw
    except ImageError as error:
        raise ValueError(f"image: {error}") from None


def _coco_image(file_name: str) -> str:
    """`COCO_train2014_000000581857_16.jpg`, the name of an object, to its image's `COCO_train2014_000000581857`."""
    stem = file_name.rsplit(".", 1)[0]
    return "_".join(stem.split("_")[:3]) if stem.startswith("COCO_") else stem


def _spans(mask: EncodedMask, box_xywh: list[float]) -> bool:
    left, top, width, height = mask.bbox_xywh
    edges = left, top, left + width, top + height
    x, y, box_width, box_height = box_xywh
    wanted = x, y, x + box_width, y + box_height
    return all(abs(edge - want) <= _MAX_BOX_ERROR_PX for edge, want in zip(edges, wanted, strict=True))
