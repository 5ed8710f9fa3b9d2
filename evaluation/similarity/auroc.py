"""AUROC of patches inside against patches outside, of one record and of all of them together.

It is the probability that a patch drawn from inside is more similar to the text than one drawn from outside, a tie
counting as half. 0.5: similarity tells nothing; below 0.5: patches inside are the less similar ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LIMIT, _STEPS = 8, 100  # standard deviations to each side, and bins in each of them


def auroc(scores: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Of V scores, of which some are inside and some are not. Raises ValueError where one side is empty."""
    within, without = scores[inside], np.sort(scores[~inside])
    if not len(within) or not len(without):
        raise ValueError("inside: there must be patches inside and outside")
    below, up_to = (np.searchsorted(without, within, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(without)))


class PooledScores:
    """Patches of many records in two histograms, of those inside and of those outside.

    Records differ in what all their patches have in common, so a patch counts with its distance from its record's mean
    in the record's standard deviations. Bins are a hundredth wide; what lies beyond 8 is in the last ones.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, 2 * _LIMIT * _STEPS), dtype=np.int64)

    def add(self, scores: NDArray[np.float32], inside: NDArray[np.bool_]) -> None:
        """Count a record's V patches."""
        spread = scores.std(dtype=np.float64)
        distance = (scores - scores.mean(dtype=np.float64)) / spread if spread > 0 else np.zeros(len(scores))
        place = np.clip(np.floor((distance + _LIMIT) * _STEPS).astype(int), 0, self._counts.shape[1] - 1)
        for row, members in enumerate((inside, ~inside)):
            self._counts[row] += np.bincount(place[members], minlength=self._counts.shape[1])

    @property
    def auroc(self) -> float | None:
        """Of all patches counted, those of the same bin as ties; None where there is none on a side."""
        within, without = self._counts
        if not within.sum() or not without.sum():
            return None
        below = np.cumsum(without) - without
        return float((within * (below + without / 2)).sum() / (within.sum() * without.sum()))

    def shares(self, limit: int = 3, bins: int = 24) -> tuple[list[float], list[float]]:
        """Shares of the patches inside and of those outside in equal bins from -limit to limit; the ends hold more."""
        edges = np.linspace(-limit, limit, bins + 1)[1:-1]
        middles = (np.arange(self._counts.shape[1]) + 0.5) / _STEPS - _LIMIT
        place = np.searchsorted(edges, middles)
        rows = [np.bincount(place, weights=counts, minlength=bins) / max(counts.sum(), 1) for counts in self._counts]
        return rows[0].tolist(), rows[1].tolist()
