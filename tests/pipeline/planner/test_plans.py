"""From seconds to instances, hours and money."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.plans import Plan, Planner, Terms
from litelvlm.pipeline.planner.prices import load_prices
from litelvlm.pipeline.planner.runs import measured_run
from litelvlm.pipeline.schemas import THROUGHPUT_SCHEMA
from tests.pipeline import planned_runs as made


def planned(tmp_path: Path, gpu: str, *, images: int = 1600, gpus_per_actor: int = 1, **terms: Any) -> Plan:
    """The plan of a job on an offer of the made-up price table."""
    (tmp_path / "prices.yaml").write_text(made.PRICES)
    run = measured_run("run", made.summary(), pa.Table.from_pylist(made.rows(), schema=THROUGHPUT_SCHEMA))
    run.facts["GPUs per actor"] = str(gpus_per_actor)
    planner = Planner([run], load_prices(str(tmp_path / "prices.yaml")), Terms(**terms))
    forecast = Forecaster([run]).forecast(Job(images=images, phrases_per_image=3), run.setting)
    return planner.plan(forecast, planner.prices.offer(gpu))


def test_hours_and_cost_are_those_of_whole_instances(tmp_path: Path) -> None:
    plan = planned(tmp_path, "h200", speed_ratio=2.0)
    assert (plan.instances, plan.gpus, plan.speed, plan.possible) == (1, 8, 2.0, True)
    assert plan.cost == pytest.approx(plan.hours * 64.0)
    assert any("taken as 2 times" in warning for warning in plan.warnings)


def test_an_actor_of_two_gpus_leaves_an_instance_of_eight_with_four(tmp_path: Path) -> None:
    plan = planned(tmp_path, "h200", gpus_per_actor=2, node_start_s=0.0, speed_ratio=1.0)
    shard_s = plan.device_s_per_image / 2 * 16
    assert plan.gpus == 8
    assert plan.hours * 3600 == pytest.approx(90 - 12 + plan.forecast.start_s + 100 / 4 * shard_s)


@pytest.mark.parametrize("hours", [0.15, 0.12, 0.09])
def test_a_deadline_takes_the_fewest_gpus_that_keep_it(tmp_path: Path, hours: float) -> None:
    plan, alone = planned(tmp_path, "h100", deadline_hours=hours), planned(tmp_path, "h100")
    assert plan.possible
    assert plan.hours <= hours < alone.hours
    shards, fixed_s = 100, 180 + (90 - 12) + plan.forecast.start_s
    shard_s = plan.device_s_per_image * 16
    one_fewer_s = fixed_s + math.ceil(shards / (plan.gpus - 1)) * shard_s
    assert one_fewer_s > hours * 3600
    assert plan.hours * 3600 == pytest.approx(fixed_s + math.ceil(shards / plan.gpus) * shard_s)


def test_a_deadline_before_the_nodes_are_there_is_late_with_a_gpu_for_every_shard(tmp_path: Path) -> None:
    plan = planned(tmp_path, "h100", deadline_hours=0.01)
    assert (plan.possible, plan.instances) == (False, 100)
    assert any("h100: 0.01 h cannot be kept" in warning for warning in plan.warnings)


def test_another_device_without_a_ratio_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--gpu cpu-2: .* or give --speed-ratio"):
        planned(tmp_path, "cpu-2")
    assert planned(tmp_path, "cpu-2", speed_ratio=0.01).speed == 0.01
