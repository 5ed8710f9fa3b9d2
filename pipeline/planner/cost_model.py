"""What annotating costs in seconds, fitted to the throughput tables of finished runs.

Every stage of a shard is a sum of terms, each a coefficient times an amount of work: so many seconds per image, per
phrase, per thousand tokens of the language model. Coefficients are found stage by stage by least squares, none of them
negative. An actor's first shard is kept out of the fit where there are others, since it pays for warming up; what it
took beyond the fit counts as start-up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Terms of every stage: those that its work is made of. Shards of one run differ little in phrases per image, so a term
#: too many would take its seconds from the right one. `host` and `idle` are seconds in which the device was free;
#: `decode_cpu` is on other cores.
STAGE_TERMS: dict[str, tuple[str, ...]] = {
    "clip": ("image",),
    "prune": ("phrase",),
    "llm": ("phrase", "kilotoken"),
    "sam": ("image",),
    "decode_masks": ("phrase",),
    "masks": ("phrase", "phrase_megapixel"),
    "other": ("image", "phrase"),
    "host": ("image", "phrase"),
    "idle": ("image",),
    "decode_cpu": ("image", "megapixel"),
}
DEVICE_STAGES = ("clip", "prune", "llm", "sam", "decode_masks", "masks", "other")  # together annotate_s
HELD_STAGES = (*DEVICE_STAGES, "host", "idle")
UNITS = {
    "image": "per image",
    "phrase": "per phrase",
    "kilotoken": "per 1,000 tokens",
    "megapixel": "per megapixel",
    "phrase_megapixel": "per phrase and megapixel",
}

_MUCH = 0.25  # of a shard's seconds


@dataclass(frozen=True, kw_only=True)
class Load:
    """An amount of work: that of a shard, a run or a plan.

    Attributes:
        images: annotated; phrases: annotated; prompts: sequences of the language model.
        retained_tokens, text_tokens: of all prompts together.
        megapixels: of all images together.
        pruned: whether visual tokens are chosen at all; without, the stage `prune` has no cost.
    """

    images: float
    phrases: float
    prompts: float
    retained_tokens: float
    text_tokens: float
    megapixels: float
    pruned: bool = True

    def amount(self, term: str) -> float:
        """How much of what a term counts."""
        if term == "image":
            return self.images
        if term == "phrase":
            return self.phrases
        if term == "kilotoken":
            return (self.retained_tokens + self.text_tokens) / 1000
        if term == "megapixel":
            return self.megapixels
        return self.phrases * self.megapixels / self.images if self.images else 0.0


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A shard as it was measured: seconds by stage; whether it was its actor's first, and that actor's start-up."""

    load: Load
    seconds: dict[str, float]
    first: bool = False
    startup_s: float = 0.0

    @property
    def held_s(self) -> float:
        """Seconds of the device, start-up and comparisons left out."""
        return sum(self.seconds[stage] for stage in HELD_STAGES)


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a quantity was among the observations."""

    low: float
    high: float

    def holds(self, value: float, *, slack: float = 0.1) -> bool:
        """Whether the value lies within, or beyond by no more than a share `slack` of the ends."""
        return self.low * (1 - slack) <= value <= self.high * (1 + slack)

    def __str__(self) -> str:
        return f"{self.low:.3g}" if self.low == self.high else f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True, kw_only=True)
class FitError:
    """How far the fit is from what it was fitted to, as shares of the measured seconds.

    Attributes:
        per_shard: mean over shards of the absolute error; total: error of the sum, signed.
        num_shards: fitted.
    """

    per_shard: float
    total: float
    num_shards: int


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Fitted seconds.

    Attributes:
        stages: stage -> term -> seconds.
        start_s: of an actor until it works at full speed: loading, waiting for the first shard, warming up.
        ranges: what was among the observations, per image or prompt: see `ranges_of`.
    """

    stages: dict[str, dict[str, float]]
    start_s: float
    ranges: dict[str, Range]
    error: FitError
    notes: tuple[str, ...] = field(default=())

    def stage_seconds(self, load: Load) -> dict[str, float]:
        """Seconds by stage."""
        return _stage_seconds(self.stages, load)

    def held_s(self, load: Load) -> float:
        """Seconds that an actor holds its device for this, without start-up."""
        return _held_s(self.stages, load)


def fit(observations: Sequence[Observation]) -> CostModel:
    """Fit the model. Raises ValueError where there is nothing to fit."""
    usable = [item for item in observations if item.load.images > 0]
    if not usable:
        raise ValueError("no shard of these runs was annotated; a plan needs at least one")
    steady = [item for item in usable if not item.first]
    notes = []
    if not steady:
        steady = usable
        notes.append("every shard was its actor's first: warming up counts as work, so plans are on the high side")
    if len(steady) < 4:
        notes.append(f"fitted to {len(steady)} shards only; run with smaller --shard-images or more images")
    stages = {stage: _fit_stage(stage, terms, steady) for stage, terms in STAGE_TERMS.items()}
    error, start_s = _error(stages, steady), _start_s(stages, usable)
    if error.per_shard > _MUCH:
        notes.append(f"the fit is off by {error.per_shard:.0%} a shard: was the machine busy with something else?")
    return CostModel(stages=stages, start_s=start_s, ranges=ranges_of(usable), error=error, notes=tuple(notes))


def ranges_of(observations: Iterable[Observation]) -> dict[str, Range]:
    """Phrases and megapixels per image and tokens kept per prompt: lowest and highest of the shards."""
    loads = [item.load for item in observations]
    ratios = {
        "phrases_per_image": [load.phrases / load.images for load in loads],
        "megapixels_per_image": [load.megapixels / load.images for load in loads],
        "tokens_per_prompt": [load.retained_tokens / load.prompts for load in loads if load.prompts],
    }
    return {name: Range(low=min(values), high=max(values)) for name, values in ratios.items() if values}


def non_negative_least_squares(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 with the least |matrix x - target|, exactly, by trying every set of columns that may be above 0.

    Args:
        matrix: NxK, K small: 2**K least-squares problems are solved.
        target: N.
    """
    num_columns = matrix.shape[1]
    scale = np.maximum(np.linalg.norm(matrix, axis=0), np.finfo(float).tiny)
    best, least = np.zeros(num_columns), float(target @ target)
    least_gain = 1e-12 * least
    for size in range(1, num_columns + 1):
        for columns in itertools.combinations(range(num_columns), size):
            chosen = list(columns)
            part, *_ = np.linalg.lstsq(matrix[:, chosen] / scale[chosen], target, rcond=1e-9)
            residual = target - (matrix[:, chosen] / scale[chosen]) @ part
            # The fewest terms that explain the data: another one has to earn its place.
            if (part >= 0).all() and float(residual @ residual) < least - least_gain:
                best, least = np.zeros(num_columns), float(residual @ residual)
                best[chosen] = part / scale[chosen]
    return best


def _fit_stage(stage: str, terms: tuple[str, ...], observations: Sequence[Observation]) -> dict[str, float]:
    """Shards weigh by one over the root of their images: their noise grows with it, and small ones count, too."""
    fitted = [item for item in observations if stage != "prune" or item.load.pruned]
    if not fitted:
        return dict.fromkeys(terms, 0.0)
    weights = np.array([item.load.images**-0.5 for item in fitted])
    matrix = np.array([[item.load.amount(term) for term in terms] for item in fitted])
    target = np.array([item.seconds[stage] for item in fitted])
    values = non_negative_least_squares(matrix * weights[:, None], target * weights)
    return dict(zip(terms, map(float, values), strict=True))


def _stage_seconds(stages: dict[str, dict[str, float]], load: Load) -> dict[str, float]:
    costs = {stage: sum(value * load.amount(term) for term, value in terms.items()) for stage, terms in stages.items()}
    return costs if load.pruned else costs | {"prune": 0.0}


def _held_s(stages: dict[str, dict[str, float]], load: Load) -> float:
    seconds = _stage_seconds(stages, load)
    return sum(seconds[stage] for stage in HELD_STAGES)


def _start_s(stages: dict[str, dict[str, float]], observations: Sequence[Observation]) -> float:
    """Mean over actors of their start-up and of what their first shard took beyond the fit."""
    first = [item.startup_s + max(0.0, item.held_s - _held_s(stages, item.load)) for item in observations if item.first]
    return float(np.mean(first)) if first else 0.0


def _error(stages: dict[str, dict[str, float]], observations: Sequence[Observation]) -> FitError:
    measured = np.array([item.held_s for item in observations])
    predicted = np.array([_held_s(stages, item.load) for item in observations])
    positive = measured > 0
    shares = np.abs(predicted - measured)[positive] / measured[positive]
    total = float(measured.sum())
    return FitError(
        per_shard=float(shares.mean()) if shares.size else 0.0,
        total=float(predicted.sum() - total) / total if total else 0.0,
        num_shards=len(observations),
    )
