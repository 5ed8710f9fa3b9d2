"""Counts, means and intervals of records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm.evaluation.similarity.records import SCORES
from litelvlm.evaluation.similarity.summary import SimilarityTally, in_words
from tests.evaluation.similarity.samples import measured, unmeasured


def tally() -> SimilarityTally:
    found = SimilarityTally()
    found.add(measured([0, 1, 2, 3], [1, 1, 0, 0], image="a"))
    found.add(measured([0, 1, 2, 3], [1, 0, 0, 1], image="a"))
    found.add(measured([0, 1, 2, 7], [0, 0, 0, 1], image="b"))
    for status in ("failed", "no_target", "no_patch"):
        found.add(unmeasured(status))
    return found


def test_counts_and_means() -> None:
    summary = tally().as_json(num_samples=200)
    counts = {name: summary[name] for name in ("records", "scored", "images", "failed", "no_target", "no_patch")}
    assert counts == {"records": 6, "scored": 3, "images": 2, "failed": 1, "no_target": 1, "no_patch": 1}
    figures = summary["scores"]["product"]
    assert figures["auroc"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert figures["mean_inside"] == pytest.approx((0.5 + 1.5 + 7) / 3)
    assert figures["mean_outside"] == pytest.approx((2.5 + 1.5 + 1) / 3)
    assert figures["share_inside_less"] == pytest.approx(1 / 3)
    assert figures["auroc_interval"] == pytest.approx([0.25, 1])  # of either image alone
    assert 0 < figures["auroc_pooled"] < 1
    assert summary["scores"].keys() == set(SCORES)


def test_without_samples_there_are_no_intervals_and_without_records_no_figures() -> None:
    assert tally().as_json(num_samples=0)["scores"]["product"]["auroc_interval"] is None
    assert SimilarityTally().as_json(num_samples=10)["scores"] == {}
    assert np.array_equal(SimilarityTally().aurocs("product"), [])


@pytest.mark.parametrize(
    ("interval", "said"),
    [([0.3, 0.4], "are less similar"), ([0.6, 0.7], "are more similar"), ([0.4, 0.6], "No difference"), (None, "less")],
)
def test_what_is_said_is_what_the_interval_shows(interval: list[float] | None, said: str) -> None:
    figures: dict[str, Any] = {"auroc": 0.45, "auroc_interval": interval}
    assert said in in_words(figures)
