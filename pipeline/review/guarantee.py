"""How many unreviewed masks may be accepted at no more than a share of errors: the arithmetic, on arrays alone.

A reviewed random sample (n of N, without replacement, every record equally likely) says for each of its members whether
it is an error. Two ways to a set of the form "score at least t":

* `fixed_sequence`: with confidence 1 - d the share of errors in the accepted set is at most e. Thresholds are tested
  from strict to loose, each by the exact upper bound of a hypergeometric variable (Clopper and Pearson's of 1934 for a
  sample without replacement, to which theirs is the limit), until the first that fails (fixed-sequence testing: Bauer,
  Biometrika 1991; several starts share d: Angelopoulos et al., Learn then Test, arXiv 2110.01052, section 5.1). Holds
  for finite samples, whatever the scores are worth, if the sample is random and its reviews are right.
* `conformal`: the expected share of errors is at most e (Jin and Candes, Selection by Prediction with Conformal
  p-values, JMLR 2023; Benjamini and Hochberg). Holds on average over samples, not for the one at hand, if reviewed and
  unreviewed records are exchangeable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_STARTS = 2  # of the sequence of thresholds; each has its share of d
_SPARE_ERRORS = 1  # with which a set may still pass at the first start
_MOST_TESTS = 200  # thresholds at most

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A reviewed simple random sample of a population that is wholly known but for its errors.

    Attributes:
        score: (n,) of the sample; no NaN.
        error: (n,) bool.
        population: (N,) scores of all, the sample's among them.
        reviewed: (r,) scores of all that were reviewed, sampled or not: they are not accepted unseen.
        reviewed_error: (r,) bool.
    """

    score: Floats
    error: Bools
    population: Floats
    reviewed: Floats
    reviewed_error: Bools


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The unreviewed records with at least a score.

    Attributes:
        threshold: infinity where nothing may be accepted.
        count: how many they are.
        bound: upper bound of their share of errors, at the confidence asked for; NaN where there is none.
        num_sampled, num_errors: records of the sample at or above the threshold, and errors among them.
    """

    threshold: float
    count: int
    bound: float
    num_sampled: int
    num_errors: int


NOTHING = Accepted(threshold=math.inf, count=0, bound=math.nan, num_sampled=0, num_errors=0)


def interval(errors: int, count: int, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share, (0, 1) without any."""
    if not count:
        return 0.0, 1.0
    found = stats.binomtest(errors, count).proportion_ci(confidence_level=confidence, method="exact")
    return float(found.low), float(found.high)


def most_errors(errors: int, sampled: int, size: int, delta: float) -> int:
    """The largest number E of errors among `size` for which a sample of `sampled` without replacement has `errors` or
    fewer with a probability above `delta`. With probability 1 - delta there are no more."""
    low, high = errors, size - sampled + errors  # as many as can be
    while low < high:
        middle = (low + high + 1) // 2
        if stats.hypergeom.cdf(errors, size, middle, sampled) > delta:
            low = middle
        else:
            high = middle - 1
    return low


def fixed_sequence(sample: Sample, max_error: float, confidence: float) -> Accepted:
    """The largest set whose share of errors is at most `max_error` with this confidence; `NOTHING` where none is."""
    tests = _Tests.of(sample)
    delta = (1 - confidence) / _STARTS
    passes, could_pass = (tests.pass_with(errors, max_error, delta) for errors in (tests.errors, _SPARE_ERRORS))
    # The order of the tests depends on scores alone: it begins where a sample with an error could pass, and again
    # three tenths of the way from there, where a larger sample bears more of them.
    first = int(np.argmax(could_pass)) if could_pass.any() else len(passes)
    best = -1
    for start in (first, (7 * first + 3 * len(passes)) // 10):
        failed = np.flatnonzero(~passes[start:])
        stop = start + int(failed[0]) if len(failed) else len(passes)
        if stop > start:
            best = max(best, stop - 1)
    return tests.accepted(best, delta) if best >= 0 else NOTHING


@dataclass(frozen=True, kw_only=True)
class _Tests:
    """Thresholds, strict to loose, (T,) each: records of the population, of the sample, its errors, and of those
    that are reviewed in all, with their errors, at or above them."""

    threshold: Floats
    size: NDArray[np.int64]
    sampled: NDArray[np.int64]
    errors: NDArray[np.int64]
    seen: NDArray[np.int64]
    seen_errors: NDArray[np.int64]

    @classmethod
    def of(cls, sample: Sample) -> _Tests:
        """One for each score of the sample."""
        thresholds = np.unique(sample.score)[::-1]

        def above(scores: Floats) -> NDArray[np.int64]:
            return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")

        return cls(
            threshold=thresholds,
            size=above(sample.population),
            sampled=above(sample.score),
            errors=above(sample.score[sample.error]),
            seen=above(sample.reviewed),
            seen_errors=above(sample.reviewed[sample.reviewed_error]),
        )

    def pass_with(self, errors: NDArray[np.int64] | int, max_error: float, delta: float) -> Bools:
        """Whether so many errors in the sample rule out, at 1 - delta, that more than `max_error` of what is left
        unseen are errors. What was reviewed is known: its errors are none of theirs."""
        count = self.size - self.seen
        known = self.seen_errors if errors is self.errors else 0
        too_many = np.floor(max_error * count + 1e-9).astype(np.int64) + known + 1
        possible = too_many <= self.size - self.sampled + errors  # else there cannot be as many
        chance = stats.hypergeom.cdf(errors, self.size, np.minimum(too_many, self.size), self.sampled)
        return (count > 0) & (~possible | (chance <= delta))

    def accepted(self, at: int, delta: float) -> Accepted:
        """The set of a threshold."""
        count = int(self.size[at] - self.seen[at])
        most = most_errors(int(self.errors[at]), int(self.sampled[at]), int(self.size[at]), delta)
        return Accepted(
            threshold=float(self.threshold[at]),
            count=count,
            bound=max(0, most - int(self.seen_errors[at])) / count,
            num_sampled=int(self.sampled[at]),
            num_errors=int(self.errors[at]),
        )


def conformal(sample: Sample, max_error: float) -> Accepted:
    """The set whose expected share of errors is at most `max_error`.

    p-value of an unreviewed record: (1 + errors of the sample that score as high or higher) / (1 + n); then the largest
    k such that the k-th smallest is at most k x max_error / number of unreviewed records.
    """
    unseen = np.sort(_without(sample.population, sample.reviewed))[::-1]
    if not len(unseen) or not len(sample.score):
        return NOTHING
    wrong = np.sort(sample.score[sample.error])
    as_high = len(wrong) - np.searchsorted(wrong, unseen, side="left")
    p_values = (1 + as_high) / (1 + len(sample.score))
    passing = np.flatnonzero(p_values <= np.arange(1, len(unseen) + 1) * max_error / len(unseen))
    if not len(passing):
        return NOTHING
    threshold = unseen[passing[-1]]
    inside = sample.score >= threshold
    return Accepted(
        threshold=float(threshold),
        count=int((unseen >= threshold).sum()),
        bound=math.nan,
        num_sampled=int(inside.sum()),
        num_errors=int(sample.error[inside].sum()),
    )


def calibrate(score: Floats, error: Bools) -> tuple[Floats, Floats]:
    """Scores, ascending, and the probability that a mask of such a score is right: isotonic regression of n samples.

    Between two scores it is interpolated. Empty without samples.
    """
    from scipy.optimize import isotonic_regression

    names, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    if not len(names):
        return names, names
    right = np.bincount(inverse, weights=~error) / counts
    return names, np.asarray(isotonic_regression(right, weights=counts).x)


def forecast(sample: Sample, max_error: float, confidence: float, factor: float) -> int:
    """How many records would be accepted if the sample were `factor` times as large and as good as this one.

    Errors at a threshold are expected by the calibrated scores of the population.
    """
    names, right = calibrate(sample.score, sample.error)
    population = np.sort(sample.population)[::-1]
    num_sampled = min(round(len(sample.score) * factor), len(population))
    if not len(names) or not num_sampled:
        return 0
    wrong = np.cumsum(1 - np.interp(population, names, right))
    sizes = np.unique(np.linspace(1, len(population), min(_MOST_TESTS, len(population)), dtype=int))
    sampled = np.round(num_sampled * sizes / len(population)).astype(int)
    errors = np.ceil(wrong[sizes - 1] * sampled / sizes).astype(int)
    too_many = np.floor(max_error * sizes).astype(int) + 1
    chance = stats.hypergeom.cdf(errors, sizes, np.minimum(too_many, sizes), sampled)
    passing = (sampled > 0) & (chance <= (1 - confidence) / _STARTS)
    return int((sizes - sampled)[passing].max(initial=0))


def fewest_reviews(max_error: float, confidence: float) -> int:
    """Random reviews, of them `_SPARE_ERRORS` errors, that a first set takes, of a large population."""
    delta, low, high = (1 - confidence) / _STARTS, 1, 2
    while stats.binom.cdf(_SPARE_ERRORS, high, max_error) > delta:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        passes = stats.binom.cdf(_SPARE_ERRORS, middle, max_error) <= delta
        low, high = (low, middle) if passes else (middle + 1, high)
    return high


def _without(population: Floats, reviewed: Floats) -> Floats:
    """Scores of the population less those that were reviewed, each as often as it is there."""
    names, counts = np.unique(population, return_counts=True)
    seen, seen_counts = np.unique(reviewed, return_counts=True)
    counts[np.searchsorted(names, seen)] -= seen_counts
    return np.repeat(names, np.maximum(counts, 0))
