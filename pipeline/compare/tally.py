"""Figures of a comparison, over all records and by groups. 16 bytes a record in memory, so that medians are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from litelvlm.pipeline.schemas import STATUS_OK, STATUSES

IOU_BINS = 20
SHARES_AT = (0.5, 0.75, 0.9)
NO_CLASS = "(none)"
BOTH, NEITHER, ONLY_A, ONLY_B = "a mask in both", "no mask in either", "a mask in A only", "a mask in B only"
ANSWERS = (BOTH, NEITHER, ONLY_A, ONLY_B)
#: COCO's sizes, by the larger of the two areas in pixels.
NO_MASK, SMALL, MEDIUM, LARGE = "no mask", "small", "medium", "large"
SIZES = (NO_MASK, SMALL, MEDIUM, LARGE)
_SIZE_FROM = (1, 32**2, 96**2)  # pixels from which on an object is small, medium, large
WORDS = ("1 word", "2 or 3", "4 to 6", "7 and more")
_WORDS_FROM = (2, 4, 7)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Agreement of some records; None where there are none. `shares` are those with an IoU of at least the key."""

    records: int
    agree: float | None = None
    mean_iou: float | None = None
    median_iou: float | None = None
    shares: dict[str, float] = field(default_factory=dict)


class ComparisonTally:
    """Filled table by table with rows of `COMPARISON_SCHEMA`."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, str]] = Counter()
        self.left_out: Counter[str] = Counter()
        self._classes: dict[str, int] = {}
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table."""
        self.statuses.update(_pairs(table))
        self.left_out.update(table.column("left_out").drop_null().to_pylist())
        table = table.filter(pc.is_valid(table.column("iou")))
        self._parts.append(
            (
                table.column("iou").to_numpy(),
                table.column("agrees").combine_chunks().to_numpy(zero_copy_only=False),
                self._class_codes(table.column("category")),
                _answers(table),
                _sizes(table),
                np.digitize(_num_words(table.column("phrase")), _WORDS_FROM).astype(np.int8),
            )
        )

    @property
    def num_compared(self) -> int:
        """Records with an IoU."""
        return sum(len(part[0]) for part in self._parts)

    def overall(self) -> Figures:
        """Of all that were compared."""
        return _figures(self._joined(0), self._joined(1))

    def by_answer(self) -> dict[str, Figures]:
        """By which of the two runs have a mask."""
        return self._by(3, ANSWERS)

    def by_size(self) -> dict[str, Figures]:
        """By COCO's sizes."""
        return self._by(4, SIZES)

    def by_words(self) -> dict[str, Figures]:
        """By the number of words of a phrase."""
        return self._by(5, WORDS)

    def by_category(self) -> dict[str, Figures]:
        """By the first run's classes, the most frequent first."""
        found = self._by(2, self._classes)
        return dict(sorted(found.items(), key=lambda one: (-one[1].records, one[0])))

    def bins(self) -> list[int]:
        """Records with a mask in both runs by IoU, `IOU_BINS` equal bins over [0, 1]."""
        iou = self._joined(0)[self._joined(3) == ANSWERS.index(BOTH)]
        return np.histogram(iou, bins=IOU_BINS, range=(0, 1))[0].tolist()

    def _joined(self, column: int) -> NDArray[Any]:
        return np.concatenate([part[column] for part in self._parts]) if self._parts else np.empty(0)

    def _by(self, column: int, names: Iterable[str]) -> dict[str, Figures]:
        """Figures of every group, in the order of the names of its codes; those of nothing are left out."""
        iou, agrees, codes = self._joined(0), self._joined(1), self._joined(column)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(list(names)) + 1))
        own = {name: order[low:high] for name, low, high in zip(names, bounds, bounds[1:], strict=False)}
        return {name: _figures(iou[rows], agrees[rows]) for name, rows in own.items() if len(rows)}

    def _class_codes(self, names: pa.ChunkedArray) -> NDArray[np.int32]:
        encoded = names.combine_chunks().fill_null(NO_CLASS).dictionary_encode()
        codes = [self._classes.setdefault(name, len(self._classes)) for name in encoded.dictionary.to_pylist()]
        return np.array(codes, np.int32)[encoded.indices.to_numpy()] if codes else np.empty(0, np.int32)


def _figures(iou: NDArray[Any], agrees: NDArray[Any]) -> Figures:
    if not len(iou):
        return Figures(records=0)
    return Figures(
        records=len(iou),
        agree=float(agrees.mean()),
        mean_iou=float(iou.mean()),
        median_iou=float(np.median(iou)),
        shares={f"{at:g}": float((iou >= at).mean()) for at in SHARES_AT},
    )


def _pairs(table: pa.Table) -> Counter[tuple[str, str]]:
    values = pa.array(STATUSES)
    first, second = (pc.index_in(table.column(name), values).to_numpy() for name in ("status_a", "status_b"))
    counts = np.bincount(first * len(STATUSES) + second, minlength=len(STATUSES) ** 2).tolist()
    pairs = ((one, other) for one in STATUSES for other in STATUSES)
    return Counter({pair: count for pair, count in zip(pairs, counts, strict=True) if count})


def _answers(table: pa.Table) -> NDArray[np.int8]:
    a, b = (pc.equal(table.column(name), STATUS_OK).to_numpy() for name in ("status_a", "status_b"))
    return np.select([a & b, a, b], [0, ANSWERS.index(ONLY_A), ANSWERS.index(ONLY_B)], ANSWERS.index(NEITHER)).astype(
        np.int8
    )


def _sizes(table: pa.Table) -> NDArray[np.int8]:
    larger = pc.max_element_wise(table.column("area_a"), table.column("area_b"), 0)
    return np.digitize(larger.to_numpy(), _SIZE_FROM).astype(np.int8)


def _num_words(phrases: pa.ChunkedArray) -> NDArray[np.int64]:
    return pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(phrases))).to_numpy()
