"""A plan in words and as JSON: what a person needs to decide, every warning once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.plans import Plan, Planner, Terms
from litelvlm.pipeline.planner.prices import load_prices
from litelvlm.pipeline.planner.text import as_json, describe
from tests.pipeline import planned_runs as made
from tests.pipeline.planner.test_runs import run_of

JOB = Job(images=160_000, phrases_per_image=3)


def planned(tmp_path: Path, *gpus: str, **terms: Any) -> tuple[Forecaster, Planner, list[Plan]]:
    """Plans of a pruned run and of an unpruned one, on offers of the made-up price table."""
    (tmp_path / "prices.yaml").write_text(made.PRICES)
    runs = [run_of(made.compared(made.rows(), iou=0.9)), run_of(made.rows(tokens=576), rule="none")]
    planner, forecaster = (
        Planner(runs, load_prices(str(tmp_path / "prices.yaml")), Terms(speed_ratio=0.5, **terms)),
        Forecaster(runs),
    )
    forecasts = [forecaster.forecast(JOB, setting) for setting in forecaster.settings()]
    return forecaster, planner, [planner.plan(one, planner.prices.offer(gpu)) for one in forecasts for gpu in gpus]


def test_the_head_the_plans_the_model_and_the_prices_are_told(tmp_path: Path) -> None:
    forecaster, planner, plans = planned(tmp_path, "h100")
    head, table, model, *_, prices = describe(JOB, forecaster, planner, plans).split("\n\n")
    assert head == "160,000 images with 3 phrases each, on one instance, on-demand prices in USD"
    assert len(table.splitlines()) == 1 + len(plans)
    assert "separate, paper to 192 tokens  measured " in table.splitlines()[1]
    assert table.splitlines()[1].endswith("agreement 0.900")
    assert "fitted to 2 run(s) on NVIDIA H100 80GB HBM3" in model
    assert prices.splitlines()[-1] == "  2026-11-01  prices of a made-up market"


def test_a_warning_is_told_once_with_the_plans_that_it_is_about(tmp_path: Path) -> None:
    forecaster, planner, plans = planned(tmp_path, "h100", "l40s")
    (pruned, here), *others = zip(plans[::2], plans[1::2], strict=True)
    odd = (replace(pruned, warnings=("mind the rain",)), replace(here, warnings=(*here.warnings, "mind the rain")))
    text = describe(JOB, forecaster, planner, [*odd, *(plan for pair in others for plan in pair)])
    assert text.count("l40s is taken as 0.5 times NVIDIA H100 80GB HBM3") == 1
    assert "- separate, paper to 192 tokens: mind the rain" in text


def test_a_deadline_that_is_not_kept_is_marked(tmp_path: Path) -> None:
    forecaster, planner, plans = planned(tmp_path, "h100", deadline_hours=0.05)
    text = describe(JOB, forecaster, planner, plans)
    assert "within 0.05 h" in text
    assert text.count("(late)") == len(plans)


def test_json_holds_the_plans_with_what_stands_behind_them(tmp_path: Path) -> None:
    forecaster, planner, plans = planned(tmp_path, "h100", "h200")
    values = json.loads(json.dumps(as_json(JOB, forecaster, planner, plans)))
    assert (values["job"]["images"], values["currency"], values["runs"]) == (160_000, "USD", ["run", "run"])
    assert [one["gpu"] for one in values["plans"]] == ["h100", "h200"] * 2
    assert values["plans"][0]["cost"] == pytest.approx(plans[0].cost)
    assert values["plans"][1]["vcpus_per_gpu"] == 24.0
    assert values["prices"]["market"]["date"] == "2026-11-01"
