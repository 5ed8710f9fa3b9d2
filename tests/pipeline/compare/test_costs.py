"""Costs are those of a run's own table."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.compare.costs import RunCosts, run_costs
from litelvlm.pipeline.storage.store import Storage


def test_they_are_the_sums_of_the_table(run_a: Path) -> None:
    table = pq.read_table(run_a / "throughput.parquet")
    gpu_s = sum(table.column("gpu_s").to_pylist())
    costs = run_costs(Storage(str(run_a)), 3600.0)
    assert (costs.device_s, costs.cost) == pytest.approx((gpu_s, gpu_s))
    assert costs.phrases == sum(table.column("phrases").to_pylist())
    assert costs.phrases_per_s == pytest.approx(costs.phrases / costs.wall_s)
    assert costs.images_per_s == pytest.approx(costs.images / costs.wall_s)
    assert costs.cost_per_1000_phrases == pytest.approx(1000 * gpu_s / costs.phrases)
    assert costs.devices == ("cpu",)


def test_without_a_price_nothing_has_one(run_a: Path) -> None:
    costs = run_costs(Storage(str(run_a)), None)
    assert costs.cost is costs.cost_per_1000_phrases is costs.gpu_price is None


def test_what_the_comparison_with_unpruned_took_is_no_annotating() -> None:
    costs = RunCosts(
        devices=(), device_s=10.0, baseline_s=6.0, wall_s=None, images=1, phrases=8, images_per_s=None,
        phrases_per_s=None, gpu_price=None, cost=None,
    )  # fmt: skip
    assert (costs.annotating_s, costs.phrases_per_device_s) == (4.0, 2.0)
