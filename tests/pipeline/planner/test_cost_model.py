"""The fit recovers what made the tables, and says how far it is off."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.cost_model import Load, Observation, fit, non_negative_least_squares
from litelvlm.pipeline.planner.runs import MeasuredRun, measured_run
from litelvlm.pipeline.schemas import THROUGHPUT_SCHEMA
from tests.pipeline import planned_runs as made


def run_of(table: list[dict[str, Any]], **about: Any) -> MeasuredRun:
    return measured_run("run", made.summary(**about), pa.Table.from_pylist(table, schema=THROUGHPUT_SCHEMA))


def two_budgets(**given: Any) -> list[Any]:
    pruned = run_of(made.rows(tokens=192, **given))
    unpruned = run_of(made.rows(tokens=576, **given), rule="none")
    return [*pruned.observations, *unpruned.observations]


def test_known_coefficients_are_recovered() -> None:
    model = fit(two_budgets())
    assert model.stages["clip"]["image"] == pytest.approx(made.PER_IMAGE["clip"])
    assert model.stages["sam"]["image"] == pytest.approx(made.PER_IMAGE["sam"])
    assert model.stages["prune"]["phrase"] == pytest.approx(made.PER_PHRASE["prune"])
    assert model.stages["decode_masks"]["phrase"] == pytest.approx(made.PER_PHRASE["decode_masks"])
    assert model.stages["llm"]["phrase"] == pytest.approx(made.PER_PHRASE["llm"])
    assert model.stages["llm"]["kilotoken"] == pytest.approx(made.PER_KILOTOKEN)
    assert model.stages["host"]["image"] == pytest.approx(made.HOST_PER_IMAGE)
    assert model.stages["decode_cpu"] == pytest.approx({"image": 0.0, "megapixel": made.PER_MEGAPIXEL}, abs=1e-9)
    assert model.start_s == pytest.approx(made.START_S + made.WARM_UP_S)
    assert model.error.per_shard == pytest.approx(0.0, abs=1e-9)
    assert model.error.num_shards == 22  # the two actors' first shards are kept out


def test_a_larger_load_costs_what_the_table_would_say() -> None:
    model = fit(two_budgets())
    large = made.row(1, images=4000, phrases=12_000, tokens=192, megapixels=4000.0)
    load = Load(
        images=4000,
        phrases=12_000,
        prompts=12_000,
        retained_tokens=12_000 * 192,
        text_tokens=12_000 * 60,
        megapixels=4000,
    )
    assert model.held_s(load) == pytest.approx(large["held_s"], rel=1e-6)


def test_without_pruning_the_stage_that_prunes_costs_nothing() -> None:
    model = fit(two_budgets())
    load = Load(images=1, phrases=3, prompts=3, retained_tokens=0, text_tokens=0, megapixels=1)
    assert model.stage_seconds(load)["prune"] == pytest.approx(0.003)
    assert model.stage_seconds(Load(**{**vars(load), "pruned": False}))["prune"] == 0.0


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_noise_shows_in_the_error_and_hardly_in_the_sum(share: float) -> None:
    noise = made.noisy(share)
    model = fit(two_budgets(noise=noise, count=40))
    assert 0.1 * share < model.error.per_shard < 2 * share
    assert abs(model.error.total) < share / 3
    assert model.stages["sam"]["image"] == pytest.approx(made.PER_IMAGE["sam"], rel=share)


def test_a_fit_that_is_far_off_says_so() -> None:
    steady = two_budgets(noise=made.noisy(0.05))
    assert not fit(steady).notes
    wild = [item if number % 3 else _slower(item, 5.0) for number, item in enumerate(steady)]
    assert "off by" in fit(wild).notes[0]


def _slower(item: Observation, factor: float) -> Observation:
    return dataclasses.replace(item, seconds={stage: value * factor for stage, value in item.seconds.items()})


def test_the_range_is_that_of_the_shards() -> None:
    ranges = fit(two_budgets()).ranges
    assert (ranges["phrases_per_image"].low, ranges["phrases_per_image"].high) == (40 / 16, 62 / 16)
    assert (ranges["tokens_per_prompt"].low, ranges["tokens_per_prompt"].high) == (192, 576)
    assert ranges["megapixels_per_image"].holds(1.2)  # 18 / 16, and a little more
    assert not ranges["megapixels_per_image"].holds(1.3)


def test_a_single_shard_is_fitted_and_said_to_be_little() -> None:
    model = fit(run_of([made.row(0)]).observations)
    assert "warming up" in model.notes[0]
    assert "1 shards only" in model.notes[1]
    assert model.start_s == pytest.approx(made.START_S, abs=1e-6)  # warming up cannot be told from work


def test_nothing_to_fit_is_said() -> None:
    with pytest.raises(ValueError, match="no shard"):
        fit([])
    with pytest.raises(UsageError, match="0 annotated shards"):
        run_of([made.row(0, images=0)])


def test_least_squares_never_go_below_zero() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix, target = rng.normal(size=(20, 3)), rng.normal(size=20)
        found = non_negative_least_squares(matrix, target)
        assert (found >= 0).all()
        gradient = matrix.T @ (matrix @ found - target)
        assert (gradient >= -1e-6).all()  # no way down that stays above 0
        assert (np.abs(gradient[found > 0]) < 1e-6).all()


def test_least_squares_take_the_fewest_columns_that_explain_everything() -> None:
    column = np.arange(1.0, 9.0)
    found = non_negative_least_squares(np.stack([column, 2 * column], axis=1), 6 * column)
    assert np.count_nonzero(found) == 1
    assert found @ [1, 2] == pytest.approx(6)
