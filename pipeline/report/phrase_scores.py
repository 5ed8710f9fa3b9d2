"""Scores by phrase: which words found what, and how surely. The most frequent of millions, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_MOST = 20_000  # phrases that are counted at a time; beyond twice as many, the rarest are forgotten


@dataclass(frozen=True, kw_only=True)
class PhraseScore:
    """A phrase, how many records ask it, how many have a mask, and the mean score of those, None without any."""

    phrase: str
    records: int
    masks: int
    mean: float | None


@dataclass(kw_only=True)
class PhraseScores:
    """Filled batch by batch. Counts of phrases that were rare at first may be low where there are very many phrases."""

    records: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, phrases: pa.ChunkedArray, scores: NDArray[np.float64], rows: NDArray[np.intp]) -> None:
        """Count the phrases of a batch; `rows` are those with a mask and a score."""
        encoded = phrases.combine_chunks().dictionary_encode()
        names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
        counts = np.bincount(codes, minlength=len(names))
        masks = np.bincount(codes[rows], minlength=len(names))
        totals = np.bincount(codes[rows], weights=scores[rows], minlength=len(names))
        for name, count, found, total in zip(names, counts.tolist(), masks.tolist(), totals.tolist(), strict=True):
            self.records[name] += count
            self.masks[name] += found
            self.totals[name] = self.totals.get(name, 0.0) + total
        if len(self.records) > 2 * _MOST:
            self._keep([name for name, _ in self.records.most_common(_MOST)])

    def top(self, count: int) -> list[PhraseScore]:
        """The most frequent phrases, of equally frequent ones the first."""
        return [
            PhraseScore(
                phrase=name,
                records=records,
                masks=self.masks[name],
                mean=self.totals[name] / self.masks[name] if self.masks[name] else None,
            )
            for name, records in self.records.most_common(count)
        ]

    def _keep(self, names: list[str]) -> None:
        self.records = Counter({name: self.records[name] for name in names})
        self.masks = Counter({name: self.masks[name] for name in names})
        self.totals = {name: self.totals[name] for name in names}
