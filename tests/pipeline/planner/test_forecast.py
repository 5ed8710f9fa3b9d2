"""Seconds of a setting that was measured, or lies between or beyond; what the runs cannot tell is refused."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.runs import Setting
from tests.pipeline import planned_runs as made
from tests.pipeline.planner.test_runs import run_of

JOB = Job(images=1000, phrases_per_image=3)


def budget(tokens: int) -> Setting:
    return Setting(layout="separate", rule="paper" if tokens < 576 else "none", tokens=tokens)


@pytest.fixture
def two() -> Forecaster:
    return Forecaster([run_of(made.rows(tokens=192)), run_of(made.rows(tokens=576), rule="none")])


@pytest.mark.parametrize(
    ("tokens", "basis", "extrapolated"),
    [(192, "measured", False), (384, "fitted", False), (96, "fitted", True), (576, "measured", False)],
)
def test_seconds_are_those_of_the_tables_coefficients(
    two: Forecaster, tokens: int, basis: str, *, extrapolated: bool
) -> None:
    found = two.forecast(JOB, budget(tokens))
    assert (found.basis, found.extrapolated) == (basis, extrapolated)
    llm_s = 3000 * (0.004 + (tokens + 60) / 1000 * made.PER_KILOTOKEN)
    assert found.stage_s["llm"] == pytest.approx(llm_s, rel=1e-3)
    assert found.stage_s["sam"] == pytest.approx(120.0, rel=1e-3)
    assert found.stage_s["prune"] == pytest.approx(3.0 if tokens < 576 else 0.0, abs=1e-3)
    assert found.load.prompts == 3000


def test_what_lies_outside_is_a_warning_in_words(two: Forecaster) -> None:
    found = two.forecast(Job(images=10, phrases_per_image=9, megapixels_per_image=50), budget(192))
    assert found.extrapolated
    assert any(warning.startswith("extrapolated: 9 phrases an image") for warning in found.warnings)
    assert any(warning.startswith("extrapolated: 50 megapixels an image") for warning in found.warnings)
    assert "its quality was not measured" in found.warnings


@pytest.mark.parametrize(
    ("budgets", "layouts", "message"),
    [
        ([577], [], "--budgets 577: the model has 576 visual tokens"),
        ([], ["shared"], "--layouts shared: the runs had separate; give a run with it"),
    ],
)
def test_what_the_model_or_the_runs_do_not_have_is_refused(
    two: Forecaster, budgets: list[int | None], layouts: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        two.asked_settings(budgets, layouts)


def test_one_budget_does_not_tell_what_another_costs() -> None:
    with pytest.raises(UsageError, match="--budgets 96: the runs in layout separate all kept 192 tokens"):
        Forecaster([run_of(made.rows())]).forecast(JOB, budget(96))


def test_asked_budgets_are_settings_once_and_all_of_them_is_unpruned(two: Forecaster) -> None:
    asked: list[Any] = [192, None, 576, 192]
    assert two.asked_settings(asked, []) == [budget(192), budget(576)]
