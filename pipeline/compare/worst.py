"""The records that two runs disagree most about, the few that are shown, out of millions."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_CANDIDATES = 4  # times as many as are shown: several may be of one image


@dataclass(frozen=True, order=True)
class PickedPair:
    """A record and its places in both runs. The lowest IoU comes first, of equal ones the larger mask, then the
    first in the input."""

    iou: float
    minus_area: int
    place_a: int
    place_b: int
    image: tuple[str, int]


class Worst:
    """Keeps what disagrees most among rows that are given table by table: `masks` where both runs have a mask,
    `one_sided` where one has."""

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._masks: list[PickedPair] = []
        self._one_sided: list[PickedPair] = []

    def add(self, table: pa.Table, places_a: NDArray[np.int64], places_b: NDArray[np.int64]) -> None:
        """Look at rows of `COMPARISON_SCHEMA`, which stand at these places of the two runs."""
        disagrees = ~table.column("agrees").combine_chunks().fill_null(True).to_numpy(zero_copy_only=False)
        in_both = pc.is_valid(table.column("box_iou")).to_numpy()
        self._masks = self._lowest(self._masks, table, np.flatnonzero(disagrees & in_both), places_a, places_b)
        self._one_sided = self._lowest(self._one_sided, table, np.flatnonzero(disagrees & ~in_both), places_a, places_b)

    @property
    def masks(self) -> list[PickedPair]:
        """Of different images."""
        return self._distinct(self._masks)

    @property
    def one_sided(self) -> list[PickedPair]:
        """Of different images."""
        return self._distinct(self._one_sided)

    def _lowest(
        self,
        kept: list[PickedPair],
        table: pa.Table,
        rows: NDArray[np.intp],
        places_a: NDArray[np.int64],
        places_b: NDArray[np.int64],
    ) -> list[PickedPair]:
        iou = table.column("iou").to_numpy()[rows]
        area = pc.max_element_wise(table.column("area_a"), table.column("area_b"), 0).to_numpy()[rows]
        count = self._shown * _CANDIDATES
        chosen = rows[np.lexsort((rows, -area, iou))[:count]]
        found = (
            table.select(["iou", "area_a", "area_b", "source_file", "source_row"]).take(pa.array(chosen)).to_pylist()
        )
        picks = [
            PickedPair(
                iou=row["iou"],
                minus_area=-max(row["area_a"] or 0, row["area_b"] or 0),
                place_a=int(places_a[at]),
                place_b=int(places_b[at]),
                image=(row["source_file"], row["source_row"]),
            )
            for at, row in zip(chosen, found, strict=True)
        ]
        return heapq.nsmallest(count, [*kept, *picks])

    def _distinct(self, picks: Iterable[PickedPair]) -> list[PickedPair]:
        first: dict[tuple[str, int], PickedPair] = {}
        for pick in picks:
            first.setdefault(pick.image, pick)
        return list(first.values())[: self._shown]
