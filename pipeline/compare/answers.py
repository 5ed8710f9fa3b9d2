"""Two answers to one phrase, record by record: whether they can be compared, and how far they agree.

Masks are compared where both runs answered: with a mask (`ok`), or with none (`empty`, `absent`). Two answers without
a mask agree, IoU 1; a mask against none has IoU 0. Left out are records that a run failed at or dropped, and those for
which the two runs were asked about another phrase or image, since the input is another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from litelvlm.pipeline.masks import EncodedMask, mask_overlap
from litelvlm.pipeline.schemas import COMPARISON_SCHEMA, STATUS_DROPPED, STATUS_FAILED, STATUS_OK

FAILED, DROPPED, OTHER_PHRASE, OTHER_IMAGE = STATUS_FAILED, STATUS_DROPPED, "other phrase", "other image"
#: Why records are left out, in the order in which it is looked for.
REASONS = (OTHER_PHRASE, OTHER_IMAGE, FAILED, DROPPED)
#: Columns of records that are needed of the second run; of the first, those of its input as well.
COLUMNS = ("record", "phrase", "status", "height", "width", "mask_rle", "bbox_xywh", "area", "score", "image_hash")
FIRST_COLUMNS = (*COLUMNS, "image_id", "file_name", "phrase_index", "category", "source_file", "source_row")

_FAR = 10  # bits of 64 from which on two perceptual hashes are of different images


def compare_answers(a: pa.Table, b: pa.Table, agree_iou: float) -> pa.Table:
    """Rows of `COMPARISON_SCHEMA` for records of the first run, `FIRST_COLUMNS`, and of the second, `COLUMNS`, that
    have the same keys row by row."""
    left_out = _left_out(a, b)
    has_mask = [_equals(table, "status", STATUS_OK) for table in (a, b)]
    both = np.flatnonzero((left_out == "") & has_mask[0] & has_mask[1])
    iou = np.where(has_mask[0] == has_mask[1], 1.0, 0.0)
    iou[both] = _mask_iou(a.take(pa.array(both)), b.take(pa.array(both)))
    box_iou = np.full(a.num_rows, np.nan)
    box_iou[both] = _box_iou(*(_boxes(table.column("bbox_xywh").take(pa.array(both))) for table in (a, b)))
    unknown = left_out != ""
    values: dict[str, Any] = {name: a.column(name) for name in COMPARISON_SCHEMA.names if name in a.column_names} | {
        "left_out": pa.array(left_out, mask=~unknown),
        "iou": pa.array(iou, mask=unknown),
        "agrees": pa.array(iou >= agree_iou, mask=unknown),
        "box_iou": pa.array(box_iou, mask=np.isnan(box_iou)),
    }
    for run, table, masked in (("a", a, has_mask[0]), ("b", b, has_mask[1])):
        values[f"status_{run}"], values[f"score_{run}"] = table.column("status"), table.column("score")
        values[f"area_{run}"] = pc.if_else(pa.array(masked), table.column("area"), None)
    return pa.table([values[name] for name in COMPARISON_SCHEMA.names], names=COMPARISON_SCHEMA.names).cast(
        COMPARISON_SCHEMA
    )


def _left_out(a: pa.Table, b: pa.Table) -> NDArray[np.object_]:
    """The first of `REASONS` that holds for each row, or ""."""
    found = np.full(a.num_rows, "", dtype=object)
    holds = {
        OTHER_PHRASE: ~_same(a, b, "phrase"),
        OTHER_IMAGE: ~(_same(a, b, "height") & _same(a, b, "width"))
        | _far(a.column("image_hash"), b.column("image_hash")),
        FAILED: _equals(a, "status", STATUS_FAILED) | _equals(b, "status", STATUS_FAILED),
        DROPPED: _equals(a, "status", STATUS_DROPPED) | _equals(b, "status", STATUS_DROPPED),
    }
    for reason in reversed(REASONS):
        found[holds[reason]] = reason
    return found


def _same(a: pa.Table, b: pa.Table, name: str) -> NDArray[np.bool_]:
    """Whether the values of a column agree; what is null on one side contradicts nothing."""
    return _bool(pc.fill_null(pc.equal(a.column(name), b.column(name)), True))


def _far(a: pa.ChunkedArray, b: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether perceptual hashes are of different images."""
    far = _bool(pc.fill_null(pc.not_equal(a, b), False))
    for at in np.flatnonzero(far):
        far[at] = (int(a[at].as_py(), 16) ^ int(b[at].as_py(), 16)).bit_count() >= _FAR
    return far


def _mask_iou(a: pa.Table, b: pa.Table) -> NDArray[np.float64]:
    """IoU of masks, (N,)."""
    columns = ("height", "width", "mask_rle", "area")
    first, second = (zip(*(table.column(name).to_pylist() for name in columns), strict=True) for table in (a, b))
    return np.array([_iou(*pair) for pair in zip(first, second, strict=True)], np.float64)


def _iou(first: tuple[int, int, str, int], second: tuple[int, int, str, int]) -> float:
    if first[2] == second[2]:
        return 1.0
    masks = [
        EncodedMask(size_hw=(height, width), counts=counts, area=area, bbox_xywh=(0, 0, 0, 0))
        for height, width, counts, area in (first, second)
    ]
    common, union = mask_overlap(*masks)
    return common / union if union else 1.0


def _box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes (N, 4) of left, top, width and height."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    return common / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - common)


def _boxes(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return values.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)


def _equals(table: pa.Table, name: str, value: str) -> NDArray[np.bool_]:
    return _bool(pc.equal(table.column(name), value))


def _bool(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.array(values.to_numpy(), bool)
