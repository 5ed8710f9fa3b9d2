"""What a similarity run refuses before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.evaluation.similarity.config import SimilarityConfig


def config(**changes: Any) -> SimilarityConfig:
    return SimilarityConfig.from_flat({"input": ["data/truth.parquet"], "output": "out"} | changes)


def test_the_truth_is_where_ground_truth_writes_it() -> None:
    found = config()
    assert (found.run.source.mask_column, found.dataset) == ("masks", "truth")
    assert (found.comparison.text, found.comparison.inside) == ("question", 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inside": 0}, "--inside is 0; it must be greater than 0"),
        ({"precision": "fp8"}, "--precision fp8"),
        ({"rule": "paper"}, "unknown setting rule"),
        ({"mask_column": ""}, "--mask-column is missing"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        config(**changes)
