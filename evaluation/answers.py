"""All answers of an evaluation as columns, cut into the slices that the results are about.

Shapes: N answers of all combinations, in the order of the shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from litelvlm.pipeline.schemas import STATUS_FAILED

WORDS = ((1, 2, "1–2 words"), (3, 4, "3–4 words"), (5, 7, "5–7 words"), (8, 1 << 15, "8 words and more"))
#: Shares of the image that an object covers. COCO's small, medium and large are pixels of images of about one size.
SIZES = (
    (0.0, 0.02, "under 2 % of the image"),
    (0.02, 0.1, "2–10 % of the image"),
    (0.1, 2.0, "over 10 % of the image"),
)
MAX_KINDS = 20
_NUMBERS = ("combination", "num_words", "true_area", "predicted_area", "intersection")
_REALS = ("boundary_f", "score", "coverage")
Numbers = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """N answers.

    `columns` are those of `ANSWER_SCHEMA` with numbers; `failed` N bool; `image`, `kind` N int, positions in the names
    of images and of kinds; `share` N, the object's share of the image.
    """

    columns: dict[str, Numbers]
    failed: NDArray[np.bool_]
    image: Numbers
    kind: Numbers
    kinds: tuple[str, ...]
    share: NDArray[np.float64]

    @classmethod
    def of(cls, tables: Iterator[pa.Table]) -> Answers:
        """Collect shards, keeping what the metrics need of each."""
        parts: list[dict[str, Numbers]] = []
        images: dict[str, int] = {}
        kinds: dict[str, int] = {}
        for table in tables:
            part = {name: _number(table, name, 0, np.int64) for name in _NUMBERS}
            part |= {name: _number(table, name, np.nan, np.float64) for name in _REALS}
            part["failed"] = np.array([status == STATUS_FAILED for status in table.column("status").to_pylist()], bool)
            part["image"] = _codes(table.column("image_key").to_pylist(), images)
            part["kind"] = _codes(table.column("kind").to_pylist(), kinds)
            pixels = _number(table, "height", 0, np.int64) * _number(table, "width", 0, np.int64)
            part["share"] = part["true_area"] / np.maximum(pixels, 1)
            parts.append(part)
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
        return cls(
            columns={name: joined[name] for name in (*_NUMBERS, *_REALS)},
            **{name: joined[name] for name in ("failed", "image", "kind", "share")},
            kinds=tuple("" if kind is None else kind for kind in kinds),
        )

    def __getitem__(self, name: str) -> Numbers:
        return self.columns[name]

    def slices(self) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
        """What results are broken down by: dimension, name, and which answers belong to it, N bool."""
        everything = np.ones(len(self.failed), bool)
        yield "all", "all", everything
        for low, high, name in WORDS:
            yield "words", name, (self["num_words"] >= low) & (self["num_words"] <= high)
        yield "object_size", "no target", ~self.failed & (self["true_area"] == 0)
        for least, most, name in SIZES:
            yield "object_size", name, (self["true_area"] > 0) & (self.share >= least) & (self.share < most)
        frequent = Counter(self.kind.tolist()).most_common(MAX_KINDS)
        for code, _ in frequent:
            if self.kinds[code]:
                yield "kind", self.kinds[code], self.kind == code


def rank_correlation(first: Numbers, second: Numbers) -> float | None:
    """Spearman's: the correlation of ranks, ties sharing their mean; None where one of the two does not vary."""
    known = np.isfinite(first) & np.isfinite(second)
    ranks = [_ranks(values[known]) for values in (first, second)]
    if known.sum() < 2 or any(np.ptp(one) == 0 for one in ranks):
        return None
    first_ranks, second_ranks = (one - one.mean() for one in ranks)
    spread = np.sqrt((first_ranks @ first_ranks) * (second_ranks @ second_ranks))
    return float(first_ranks @ second_ranks / spread)


def _ranks(values: Numbers) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _number(table: pa.Table, name: str, missing: float, dtype: Any) -> Numbers:
    return table.column(name).fill_null(missing).to_numpy().astype(dtype)


def _codes(values: list[Any], known: dict[Any, int]) -> Numbers:
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
