"""The table of results, of answers few enough to work it out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.config import GlammConfig
from litelvlm.evaluation.answers import Answers
from litelvlm.evaluation.records import RESULT_SCHEMA
from litelvlm.evaluation.results import Cost, result_rows
from litelvlm.flops import prefill_flop
from tests.evaluation.samples import answers_marker, evaluation_config

COST = Cost.of([answers_marker(device="H100"), answers_marker(device="A100")])


def _answers() -> Answers:
    """Of the unpruned model to four expressions on two images, of which it failed one, and none of the other rule."""
    return Answers(
        columns={
            "combination": np.zeros(4, np.int64),
            "num_words": np.array([1, 2, 3, 3]),
            "true_area": np.array([100, 50, 0, 40]),
            "predicted_area": np.array([100, 25, 0, 0]),
            "intersection": np.array([50, 25, 0, 0]),
            "boundary_f": np.array([0.5, 1.0, np.nan, np.nan]),
            "score": np.array([0.1, 0.2, 0.3, np.nan]),
            "coverage": np.array([0.5, np.nan, 1.0, np.nan]),
        },
        failed=np.array([False, False, False, True]),
        image=np.array([0, 0, 1, 1]),
        kind=np.zeros(4, np.int64),
        kinds=("",),
        share=np.array([0.01, 0.005, 0, 0.004]),
    )


def _rows(sizes: GlammConfig | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    config = evaluation_config("in", Path("out"), rules=("none", "trim"), budgets=(4,))
    rows = list(result_rows(config, _answers(), COST, revision="r", num_visual_tokens=16, sizes=sizes))
    assert {row["combination"] for row in rows} == {0}
    assert all(set(row) <= set(RESULT_SCHEMA.names) for row in rows)
    return {(row["slice_by"], row["slice"]): row for row in rows}


def test_costs_add_up_over_shards() -> None:
    assert (COST.encode_s, COST.answer_s, COST.llm_s) == (2.0, (4.0, 6.0), (1.0, 2.0))
    assert (COST.images, COST.prompts, COST.text_tokens) == (4, 6, 60)
    assert COST.devices == ("A100", "H100")


def test_failed_expressions_are_counted_and_enter_no_metric() -> None:
    row = _rows()["all", "all"]
    assert (row["images"], row["expressions"], row["failed"], row["no_target"]) == (2, 3, 1, 1)
    assert row["ciou"] == pytest.approx(75 / 200)  # unions of 150, 50 and 0
    assert row["giou"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert row["boundary_f"] == row["coverage"] == 0.75
    assert row["score_rank_correlation"] == pytest.approx(1.0)
    assert row["giou_low"] <= row["giou"] <= row["giou_high"]
    assert (row["rule"], row["num_retain_tokens"], row["model_revision"]) == ("none", 16, "r")


def test_costs_are_per_answered_expression_and_of_the_whole() -> None:
    rows = _rows(GlammConfig())
    row = rows["all", "all"]
    assert (row["encode_s"], row["answer_s"], row["llm_s"]) == pytest.approx((2 / 3, 4 / 3, 1 / 3))
    assert row["llm_tflop"] == pytest.approx(2 * prefill_flop(GlammConfig().llm, 576 + 10) / 1e12)  # 6 prompts for 3
    assert _rows()["all", "all"]["llm_tflop"] is None
    assert "encode_s" not in rows["words", "1–2 words"]


def test_slices_without_expressions_are_left_out() -> None:
    rows = _rows()
    assert [name for by, name in rows if by == "words"] == ["1–2 words", "3–4 words"]
    assert rows["words", "1–2 words"]["ciou"] == pytest.approx(75 / 200)
    assert (rows["words", "3–4 words"]["giou"], rows["words", "3–4 words"]["ciou"]) == (1.0, None)
    assert rows["object_size", "no target"]["expressions"] == 1


def test_a_slice_of_nothing_but_failures_has_no_metric_and_no_cost() -> None:
    answers = _answers()
    answers.failed[:] = True
    config = evaluation_config("in", Path("out"), rules=("none",))
    row = next(result_rows(config, answers, COST, revision="r", num_visual_tokens=16))
    assert (row["expressions"], row["failed"], row["images"]) == (0, 4, 0)
    assert row["ciou"] is row["giou"] is row["coverage"] is None
    assert "encode_s" not in row
