"""What a similarity run comes to: counts, means, AUROC, and intervals by image."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.evaluation.bootstrap import bootstrap_mean
from litelvlm.evaluation.records import STATUS_SCORED
from litelvlm.evaluation.similarity.auroc import PooledScores
from litelvlm.evaluation.similarity.measure import MeasuredPhrase
from litelvlm.evaluation.similarity.records import SCORES, STATUS_NO_PATCH, STATUS_NO_TARGET
from litelvlm.pipeline.schemas import STATUS_FAILED

CONVENTION = (
    "AUROC is the probability that a patch inside is more similar to the text than one outside, ties counting as half: "
    "0.5 tells nothing, below 0.5 patches inside are the less similar ones."
)
_OF_A_SCORE = ("inside", "outside", "auroc")


class SimilarityTally:
    """Adds up records as they come; a record takes 28 bytes, whatever the number of its patches."""

    def __init__(self) -> None:
        self.pooled = {name: PooledScores() for name in SCORES}
        self._values = {name: {of: array("f") for of in _OF_A_SCORE} for name in SCORES}
        self._images = array("q")  # number of the image of each scored record
        self._last_image: str | None = None
        self._num_images = 0
        self._statuses: Counter[str] = Counter()

    @property
    def records(self) -> int:
        """Phrases, measured or not."""
        return sum(self._statuses.values())

    @property
    def failed(self) -> int:
        return self._statuses[STATUS_FAILED]

    def add(self, one: MeasuredPhrase) -> None:
        """Count a record. Those of an image come one after another."""
        self._statuses[one.row["status"]] += 1
        if one.scores is None or one.inside is None:
            return
        if one.row["image_key"] != self._last_image:
            self._last_image, self._num_images = one.row["image_key"], self._num_images + 1
        self._images.append(self._num_images)
        for name, values in one.scores.items():
            self.pooled[name].add(values, one.inside)
            for of in _OF_A_SCORE:
                self._values[name][of].append(one.row[f"{name}_{of}"])

    def aurocs(self, name: str) -> NDArray[np.float64]:
        """Of every scored record under one of `SCORES`."""
        return np.array(self._values[name]["auroc"], dtype=np.float64)

    def as_json(self, *, num_samples: int) -> dict[str, Any]:
        """Counts, and for each of `SCORES` its figures; `num_samples` are drawn for intervals."""
        return {
            "convention": CONVENTION,
            "records": self.records,
            "scored": self._statuses[STATUS_SCORED],
            "images": self._num_images,
            "no_target": self._statuses[STATUS_NO_TARGET],
            "no_patch": self._statuses[STATUS_NO_PATCH],
            "failed": self.failed,
            "scores": {name: self._figures(name, num_samples) for name in SCORES} if len(self._images) else {},
        }

    def _figures(self, name: str, num_samples: int) -> dict[str, Any]:
        inside, outside, auroc = (np.array(self._values[name][of], dtype=np.float64) for of in _OF_A_SCORE)
        averaged = {
            "difference": inside - outside,
            "auroc": auroc,
            "share_inside_less": (inside < outside).astype(np.float64),
        }
        figures: dict[str, Any] = {"mean_inside": float(inside.mean()), "mean_outside": float(outside.mean())}
        for label, values in averaged.items():
            figures[label] = float(values.mean())
            figures[f"{label}_interval"] = (
                list(bootstrap_mean(values, self._images, num_samples=num_samples)) if num_samples else None
            )
        return figures | {"auroc_pooled": self.pooled[name].auroc}


def in_words(figures: dict[str, Any]) -> str:
    """What an AUROC with its interval says."""
    low, high = figures["auroc_interval"] or (figures["auroc"], figures["auroc"])
    if high < 0.5:
        return "Patches inside are less similar to the text than those outside."
    if low > 0.5:
        return "Patches inside are more similar to the text than those outside."
    return "No difference between inside and outside is shown."
