"""Settings of the steps."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.review.config import QueueConfig


@pytest.mark.parametrize(("budget", "items"), [(200, 200), ("200", 200), ("90min", 540), ("1.5h", 540), ("2 h", 720)])
def test_a_budget_is_a_number_or_a_time(budget: object, items: int) -> None:
    assert QueueConfig(run="r", output="q.parquet", budget=budget).num_items == items


@pytest.mark.parametrize("budget", ["0", "soon", "5s", ""])
def test_other_budgets_are_refused(budget: str) -> None:
    with pytest.raises(ValueError, match="--budget"):
        QueueConfig(run="r", output="q.parquet", budget=budget)


def test_a_queue_is_a_parquet_file() -> None:
    with pytest.raises(ValueError, match=r"--output q.csv: must name a .parquet file"):
        QueueConfig(run="r", output="q.csv", budget=1)
