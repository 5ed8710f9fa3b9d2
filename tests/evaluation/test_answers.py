"""Answers of several shards as columns, cut into slices, and the correlation of ranks against scipy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from litelvlm.evaluation.answers import MAX_KINDS, Answers, rank_correlation
from litelvlm.evaluation.records import ANSWER_SCHEMA


def _table(*rows: dict[str, Any]) -> pa.Table:
    """Answers to an image of 10x10 pixels."""
    given = {
        "combination": 0, "source_file": "f", "source_row": 0, "phrase_index": 0, "image_id": "i", "image_key": "k",
        "phrase": "p", "kind": "dog", "num_words": 1, "status": "scored", "height": 10, "width": 10, "true_area": 5,
        "predicted_area": 6, "intersection": 4, "boundary_f": 0.5, "score": 0.25,
    }  # fmt: skip
    return pa.Table.from_pylist([given | row for row in rows], schema=ANSWER_SCHEMA)


def _members(answers: Answers, dimension: str) -> dict[str, list[int]]:
    return {name: np.flatnonzero(member).tolist() for by, name, member in answers.slices() if by == dimension}


def test_images_and_kinds_keep_their_number_from_shard_to_shard() -> None:
    first = _table({"image_key": "b"}, {"image_key": "a", "kind": None})
    answers = Answers.of(iter([first, _table({"image_key": "a", "kind": "cat"}, {"image_key": "c"})]))
    assert answers.image.tolist() == [0, 1, 1, 2]
    assert answers.kinds == ("dog", "", "cat")
    assert _members(answers, "kind") == {"dog": [0, 3], "cat": [2]}  # no slice of the answer without a kind


def test_a_failed_answer_has_no_numbers() -> None:
    nothing = dict.fromkeys(("height", "width", "true_area", "predicted_area", "intersection", "boundary_f", "score"))
    answers = Answers.of(iter([_table({}, {"status": "failed", "error": "gone"} | nothing)]))
    assert answers.failed.tolist() == [False, True]
    assert answers["intersection"].tolist() == [4, 0]
    assert np.isnan(answers["score"]).tolist() == [False, True]
    assert answers.share.tolist() == [0.05, 0.0]
    assert _members(answers, "all") == {"all": [0, 1]}


def test_every_expression_is_in_one_slice_of_words() -> None:
    answers = Answers.of(iter([_table(*({"num_words": number} for number in (1, 2, 3, 4, 5, 7, 8, 32_767)))]))
    assert list(_members(answers, "words").values()) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_objects_are_sliced_by_their_share_of_the_image() -> None:
    failed = {"status": "failed", "true_area": None}
    answers = Answers.of(iter([_table(*({"true_area": area} for area in (0, 1, 2, 9, 10, 100)), failed)]))
    assert list(_members(answers, "object_size").values()) == [[0], [1], [2, 3], [4, 5]]


def test_rare_kinds_have_no_slice() -> None:
    rows = [{"kind": f"kind-{number:02}"} for number in range(MAX_KINDS + 5) for _ in range(2 if number > 4 else 1)]
    found = _members(Answers.of(iter([_table(*rows)])), "kind")
    assert sorted(found) == [f"kind-{number:02}" for number in range(5, MAX_KINDS + 5)]


def test_rank_correlation() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.9])
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1.0)
    assert rank_correlation(values, -values) == pytest.approx(-1.0)
    assert rank_correlation(values, np.ones(4)) is None
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.sqrt(3) / 2)


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, (2, 200)).astype(float)  # many ties
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    first[::7] = np.nan
    known = ~np.isnan(first)
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first[known], second[known]).statistic)
    assert rank_correlation(np.full(3, np.nan), second[:3]) is None
    assert rank_correlation(first[1:2], second[1:2]) is None
