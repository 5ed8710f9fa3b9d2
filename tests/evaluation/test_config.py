"""Sweeps: combinations once each, mistakes refused by flag, and what ties an output to a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from litelvlm.config import RULES
from litelvlm.evaluation.config import EvaluationConfig, SweepConfig, remark
from tests.evaluation.samples import evaluation_config


def test_combinations_are_there_once() -> None:
    sweep = SweepConfig(rules=("none", "random", "context"), budgets=(8, 4), seeds=(0, 1, 2), orders=("auto", "raster"))
    found = [(one.rule, one.num_retain_tokens, one.order, one.seed) for one in sweep.combinations()]
    assert found[0] == ("none", None, "auto", 0)
    assert len(found) == len(set(found)) == 1 + 2 * 2 * 3 + 2 * 2
    assert len(SweepConfig(budgets=(8,)).combinations()) == len(RULES)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rules": ("magic",)}, "magic"),
        ({"budgets": (0,)}, "--budgets is"),
        ({"budgets": ()}, "--budgets"),
        ({"seeds": (1, 1)}, "--seeds is '1,1'"),
        ({"orders": ("spiral",)}, "spiral"),
        ({"example_images": -1}, "--example-images is -1"),
        ({"budgets": tuple(range(1, 3000))}, "combinations"),
    ],
)
def test_sweeps_that_do_not_work_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SweepConfig(**settings)


@pytest.mark.parametrize(
    ("rules", "budgets", "fitting"),
    [
        (("trim",), (8, 4), [("trim", 8), ("trim", 4)]),
        (("trim",), (17, 16), [("none", None), ("trim", 16)]),
        (("none", "trim"), (17, 4), [("none", None), ("trim", 4)]),
        (("trim",), (17, 500), [("none", None)]),
    ],
)
def test_budgets_beyond_16_tokens_are_the_unpruned_model(
    rules: tuple[str, ...], budgets: tuple[int, ...], fitting: list[tuple[str, int | None]]
) -> None:
    sweep = SweepConfig(rules=rules, budgets=budgets).within(16)
    assert [(one.rule, one.num_retain_tokens) for one in sweep.combinations()] == fitting


def _evaluation(**changes: Any) -> EvaluationConfig:
    return evaluation_config("in.parquet", Path("out"), **changes)


@pytest.mark.parametrize("change", [{"budgets": (8,)}, {"protocol": "release"}, {"boundary": False}, {"seeds": (1,)}])
def test_what_changes_answers_changes_the_facts(change: dict[str, Any]) -> None:
    assert _evaluation(**change).facts() != _evaluation().facts()


def test_where_the_output_lies_is_no_fact() -> None:
    assert evaluation_config("in.parquet", Path("elsewhere")).facts() == _evaluation().facts()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"dataset": "x" * 101}, "--dataset"), ({"bootstrap_samples": -1}, "-samples")],
)
def test_evaluations_that_do_not_work_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        EvaluationConfig(run=_evaluation().run, **settings)


def test_a_data_set_has_the_name_of_its_file() -> None:
    assert EvaluationConfig(run=_evaluation().run).dataset == "in"


@pytest.mark.parametrize(
    ("order", "positions", "said"),
    [
        ("auto", "compact", ""),
        ("raster", "compact", " (raster)"),
        ("auto", "original", " (original positions)"),
        ("raster", "original", " (raster, original positions)"),
    ],
)
def test_a_rule_is_told_with_what_is_unusual_about_it(order: str, positions: str, said: str) -> None:
    assert remark(order, positions) == said
