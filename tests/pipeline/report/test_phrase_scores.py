"""Scores by phrase, by hand and beyond what is kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.pipeline.report import phrase_scores
from litelvlm.pipeline.report.phrase_scores import PhraseScore, PhraseScores


def _add(found: PhraseScores, phrases: list[str], scores: list[float]) -> None:
    given = np.array(scores)
    found.add(pa.chunked_array([phrases]), given, np.flatnonzero(np.isfinite(given)))


def test_records_masks_and_means_by_phrase() -> None:
    found = PhraseScores()
    _add(found, ["dog", "car", "dog"], [0.5, np.nan, 0.75])
    _add(found, ["dog", "cat"], [np.nan, 0.25])
    assert found.top(2) == [
        PhraseScore(phrase="dog", records=3, masks=2, mean=0.625),
        PhraseScore(phrase="car", records=1, masks=0, mean=None),
    ]


def test_memory_is_bounded_and_frequent_phrases_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrase_scores, "_MOST", 10)
    found = PhraseScores()
    for batch in range(50):
        _add(found, ["dog"] * 3 + [f"rare {batch} {at}" for at in range(9)], [0.5] * 12)
    assert len(found.records) <= 20
    assert found.top(1) == [PhraseScore(phrase="dog", records=150, masks=150, mean=0.5)]
