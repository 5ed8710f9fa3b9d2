"""An image with expressions and their true masks: what every data set is read into, and how it is written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from litelvlm.evaluation.records import KINDS, MASKS, SENTENCE_IDS, TRUTH_SCHEMA
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.true_masks import parse_mask

ROWS_PER_GROUP = 64  # the unit of work of an evaluation, and what lies in memory while converting


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A referring expression. `mask` is None where the truth is not known, without pixels where nothing is meant."""

    text: str
    mask: EncodedMask | None
    sentence_id: str = ""
    kind: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrueImage:
    """An image, by its bytes or by its path below the image root, with its expressions."""

    image_id: str
    path: str | None
    data: bytes | None
    expressions: tuple[Expression, ...]
    split: str | None = None

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width that the true masks have, in pixels; None where no mask is known."""
        return next((item.mask.size_hw for item in self.expressions if item.mask is not None), None)

    def as_row(self) -> dict[str, Any]:
        """A row of `TRUTH_SCHEMA`."""
        return {
            "image_id": self.image_id,
            "image": {"bytes": self.data, "path": self.path},
            "phrases": [expression.text for expression in self.expressions],
            MASKS: [None if item.mask is None else item.mask.as_coco() for item in self.expressions],
            SENTENCE_IDS: [item.sentence_id for item in self.expressions],
            KINDS: [item.kind for item in self.expressions],
            "split": self.split,
        }


@dataclass(kw_only=True)
class TruthTotals:
    """What was written."""

    images: int = 0
    expressions: int = 0
    no_target: int = 0
    unknown: int = 0  # expressions without truth: an evaluation fails them

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{self.images} images with {self.expressions} expressions"]
        parts += [f"{self.no_target} of them without a target"] if self.no_target else []
        parts += [f"{self.unknown} without a usable mask"] if self.unknown else []
        return ", ".join(parts)


def write_truth(images: Iterable[TrueImage], storage: Storage, name: str, *, split: str | None = None) -> TruthTotals:
    """Write images to a Parquet file of `TRUTH_SCHEMA`, holding `ROWS_PER_GROUP` of them at a time.

    `split` is the one that was asked for, if any. Raises ValueError when there is no expression.
    """
    totals = TruthTotals()
    rows: list[dict[str, Any]] = []
    stream = storage.open_write(name)
    try:
        with pq.ParquetWriter(stream, TRUTH_SCHEMA, compression="zstd") as writer:
            for image in images:
                rows.append(image.as_row())
                _count(totals, image)
                if len(rows) == ROWS_PER_GROUP:
                    writer.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA))
                    rows.clear()
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA))
        if not totals.expressions:
            asked = "" if split is None else f" under --split {split}"
            raise ValueError(f"no image with an expression there{asked}")
        stream.close()
    finally:
        stream.discard()  # publishes nothing, unless it is published already
    return totals


def union_of(masks: list[EncodedMask], size_hw: tuple[int, int]) -> EncodedMask:
    """What any of the masks covers; a mask without pixels for none."""
    pieces: list[Any] = [{"size": list(mask.size_hw), "counts": mask.counts.encode("ascii")} for mask in masks]
    counts: Any = coco_mask.merge(pieces)["counts"] if pieces else [size_hw[0] * size_hw[1]]
    merged = parse_mask({"size": size_hw, "counts": counts}, size_hw)
    assert merged is not None, "a mask with counts is a mask"
    return merged


def _count(totals: TruthTotals, image: TrueImage) -> None:
    totals.images += 1
    totals.expressions += len(image.expressions)
    totals.no_target += sum(item.mask is not None and item.mask.area == 0 for item in image.expressions)
    totals.unknown += sum(item.mask is None for item in image.expressions)
