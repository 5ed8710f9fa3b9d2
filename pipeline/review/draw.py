"""Which records are looked at: a random part, the ground of every estimate, and a targeted part.

The random part is a simple random sample of all answers (the base), and, so that no stratum is left without, more of
the strata of which it holds too few. Records are drawn by one random order of all: the base is its beginning, and the
draw of a stratum is the beginning of the order within it. Hence the base is a simple random sample of all answers, and
what is drawn of a stratum is one of the stratum, whatever its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.review.population import Population

_MOST_FLOOR = 30  # records of every stratum, if the budget allows
_SHARE_OF_BASE = 0.5  # of the random part at least


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """K records of a population of N.

    Attributes:
        index: (K,) int64, places in the population: the random part in the order in which it was drawn, then the
            targeted part, most likely errors first.
        is_random: (K,) bool.
        is_base: (K,) bool: of the simple random sample of all answers.
        probability: (K,) float64, of being drawn: the share of its stratum that was, and 1 in the targeted part.
        stratum: (K,) uint64, as in the population, or 0 for the one that small strata were merged into.
        sizes: how many answers each stratum has, merged ones as 0.
    """

    index: NDArray[np.int64]
    is_random: NDArray[np.bool_]
    is_base: NDArray[np.bool_]
    probability: NDArray[np.float64]
    stratum: NDArray[np.uint64]
    sizes: dict[int, int]

    @property
    def num_base(self) -> int:
        """Size of the simple random sample."""
        return int(self.is_base.sum())


def draw(population: Population, budget: int, random_share: float, seed: int) -> Drawn:
    """Draw up to `budget` records, `random_share` of them at random. The same seed draws the same records."""
    answers = np.flatnonzero(population.is_answer)
    num_random = min(round(budget * random_share), len(answers))
    order = np.random.default_rng(seed).permutation(len(answers))
    strata, sizes = _merged(population.stratum[answers], num_random)
    chosen, in_base = _random_part(strata[order], sizes, num_random)
    picked = order[chosen]
    counts = dict(zip(*np.unique(strata[picked], return_counts=True), strict=True))
    shares = np.array([counts[one] / sizes[int(one)] for one in strata[picked]], np.float64)
    taken = np.zeros(len(population), bool)
    taken[answers[picked]] = True
    targeted = _targeted(population, taken, budget - len(picked))
    known = set(sizes)
    stratum = population.stratum[targeted]
    stratum = np.where(np.isin(stratum, np.array(sorted(known), np.uint64)), stratum, np.uint64(0))
    return Drawn(
        index=np.concatenate([answers[picked], targeted]),
        is_random=np.arange(len(picked) + len(targeted)) < len(picked),
        is_base=np.concatenate([in_base, np.zeros(len(targeted), bool)]),
        probability=np.concatenate([shares, np.ones(len(targeted))]),
        stratum=np.concatenate([strata[picked], stratum]),
        sizes=sizes,
    )


def _merged(strata: NDArray[np.uint64], num_random: int) -> tuple[NDArray[np.uint64], dict[int, int]]:
    """Strata, of which all but the largest are one where there are too many for two records each; and their sizes."""
    names, inverse, counts = np.unique(strata, return_inverse=True, return_counts=True)
    most = max(num_random // 4, 1)
    if len(names) > most:
        small = np.argsort(-counts, kind="stable")[most - 1 :]
        names = names.copy()
        names[small] = 0
        strata = names[inverse]
        names, counts = np.unique(strata, return_counts=True)
    return strata, {int(name): int(count) for name, count in zip(names, counts, strict=True)}


def _random_part(
    strata: NDArray[np.uint64], sizes: dict[int, int], num_random: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places in the random order that are drawn, ascending, and which are the base. `strata` are in that order.

    The base's size depends on the strata's sizes alone, not on what is drawn.
    """
    total = max(len(strata), 1)
    floor = _floor(list(sizes.values()), num_random)
    missing = sum(max(0.0, min(floor, size) - num_random * size / total) for size in sizes.values())
    num_base = num_random - min(int(np.ceil(missing)), num_random // 2)
    left = num_random - num_base
    chosen = list(range(num_base))
    for name in sorted(sizes, key=lambda one: sizes[one]):  # the smallest first
        places = np.flatnonzero(strata == np.uint64(name))[:floor]
        more = places[places >= num_base][:left]
        chosen += more.tolist()
        left -= len(more)
    places = np.array(sorted(chosen), np.int64)
    return places, places < num_base


def _floor(sizes: list[int], num_random: int) -> int:
    """The most records for every stratum that leave the base its share."""
    total, spare = max(sum(sizes), 1), num_random * (1 - _SHARE_OF_BASE)
    base = num_random - spare
    for floor in range(min(_MOST_FLOOR, num_random), 0, -1):
        if sum(max(0.0, min(floor, size) - base * size / total) for size in sizes) <= spare:
            return floor
    return 0


def _targeted(population: Population, taken: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """The records with the highest risk that are not taken, of equals the earlier."""
    free = np.flatnonzero(~taken)
    count = max(0, min(count, len(free)))
    return free[np.argsort(-population.risk[free], kind="stable")[:count]]
