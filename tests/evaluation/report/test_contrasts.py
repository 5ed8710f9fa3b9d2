"""What one choice does against another, on the same images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from litelvlm.config import PruningConfig
from litelvlm.evaluation.config import SweepConfig
from litelvlm.evaluation.report.contrasts import ORDER_QUESTION, POSITION_QUESTION, RULE_QUESTIONS, Contrast, contrasts
from tests.evaluation.report.sweeps import SWEEP, drawn_answers


def test_intervals_of_differences_see_what_single_ones_hide() -> None:
    combinations = SWEEP.combinations()
    found = list(contrasts(combinations, drawn_answers(combinations), num_samples=300))
    against_chance = [one for one in found if (one.first.rule, one.second.rule) == ("low_similarity", "random")]
    assert [one.first.num_retain_tokens for one in against_chance] == [48, 16]
    for one in against_chance:
        assert one.low < one.difference < one.high
        assert one.difference == pytest.approx(0.2, abs=0.02)
        assert (one.low > 0) == (one.verdict == "yes")
    assert list(contrasts(combinations, drawn_answers(combinations), num_samples=0)) == []


def test_what_is_compared_with_chance_is_compared_with_the_mean_over_its_seeds() -> None:
    combinations = SWEEP.combinations()
    answers = drawn_answers(combinations)
    share = answers["intersection"] / answers["true_area"]  # the union is the object: nothing else is predicted

    def mean(rule: str, tokens: int | None, seeds: set[int]) -> float:
        wanted = [
            index
            for index, one in enumerate(combinations)
            if (one.rule, one.num_retain_tokens) == (rule, tokens) and one.seed in seeds
        ]
        return float(share[np.isin(answers["combination"], wanted)].mean())

    found = [one for one in contrasts(combinations, answers, num_samples=50) if one.second.rule == "random"]
    assert {one.first.rule for one in found} == {"low_similarity", "high_similarity"}
    for one in found:
        tokens = one.first.num_retain_tokens
        expected = mean(one.first.rule, tokens, {0}) - mean("random", tokens, {0, 1})
        assert one.difference == pytest.approx(expected, abs=1e-12)
        assert abs(one.difference - mean(one.first.rule, tokens, {0}) + mean("random", tokens, {0})) > 1e-6


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "yes"), (-0.2, -0.01, "no, it hurts"), (-0.1, 0.1, "not shown"), (0.0, 0.1, "not shown")],
)
def test_an_interval_that_holds_0_shows_nothing(low: float, high: float, verdict: str) -> None:
    one = PruningConfig(rule="random", num_retain_tokens=4)
    found = Contrast(question="?", first=one, second=one, difference=(low + high) / 2, low=low, high=high)
    assert found.verdict == verdict


def test_choices_that_differ_in_two_things_are_not_compared() -> None:
    orders, positions = ("release", "raster"), ("compact", "original")
    combinations = SweepConfig(rules=("paper",), budgets=(48, 16), orders=orders, positions=positions).combinations()
    found = list(contrasts(combinations, drawn_answers(combinations), num_samples=20))
    assert [one.question for one in found] == [ORDER_QUESTION] * 4 + [POSITION_QUESTION] * 4
    for one in found:
        first, second = (dataclasses.asdict(side) for side in (one.first, one.second))
        assert len([name for name in first if first[name] != second[name]]) == 1


def test_failed_answers_take_no_part() -> None:
    combinations = SweepConfig(rules=("low_similarity", "random"), budgets=(48,)).combinations()
    answers = drawn_answers(combinations)
    [before] = contrasts(combinations, answers, num_samples=20)
    half = answers.image >= 20
    answers.columns["intersection"][half] = 0
    answers.failed[half] = True
    [after] = contrasts(combinations, answers, num_samples=20)
    assert after.question == RULE_QUESTIONS[1][2]
    assert after.difference == pytest.approx(before.difference, abs=0.02)
    answers.failed[:] = True
    assert list(contrasts(combinations, answers, num_samples=20)) == []
