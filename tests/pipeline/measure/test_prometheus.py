"""The metrics of a run as Prometheus would scrape them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.measure.prometheus import ACTOR_METRICS, DRIVER_METRICS
from tests.conftest import ROOT
from tests.pipeline.samples import row, write_table

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """All values seen of every series, without the tag `run`, and the run's summary."""
    root = tmp_path_factory.mktemp("scraped")
    rows = [row(number, "a dog", "nothing at all") for number in range(24)]
    rows[5]["image"] = b"<html>"
    source = write_table(root / "in.parquet", rows, row_group_size=24)
    command = [sys.executable, "-m", "tests.infra.scraped_run", source, str(root / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(Path(root, "out/run.json").read_text())
    tag = f" run={summary['fingerprint'][:8]}"
    found = json.loads(done.stdout)
    assert all(tag in series for series in found)
    return {series.replace(tag, ""): values for series, values in found.items()}, summary


def test_every_metric_is_exported_and_grows_as_a_counter_does(
    scraped: tuple[dict[str, list[float]], dict[str, Any]],
) -> None:
    seen, _ = scraped
    exported = {series.split(" ")[0] for series in seen}
    silent = {"ray_litelvlm_retries_total", "ray_litelvlm_tflop_total"}  # nothing died; the fake model has no sizes
    assert exported == {f"ray_{metric.name}" for metric in (*DRIVER_METRICS, *ACTOR_METRICS)} - silent
    gauges = {f"ray_{metric.name}" for metric in DRIVER_METRICS if metric.gauge}
    for series, values in seen.items():
        if series.split(" ")[0] not in gauges | {
            "ray_litelvlm_device_seconds_total",
            "ray_litelvlm_stage_seconds_total",
        }:
            assert values[-1] >= values[0] >= 0, series


def test_the_drivers_metrics_end_as_the_run_does(scraped: tuple[dict[str, list[float]], dict[str, Any]]) -> None:
    seen, summary = scraped
    counts = summary["counts"]
    for status in ("ok", "empty", "failed"):
        assert seen[f"ray_litelvlm_records_total status={status}"][-1] == counts[status]
    assert seen["ray_litelvlm_images_total"][-1] == summary["totals"]["images"] == 23
    assert seen["ray_litelvlm_shards_left"][-1] == 0
    assert max(seen["ray_litelvlm_shards_left"]) == 6
    assert seen["ray_litelvlm_gpu_seconds_total"][-1] == pytest.approx(summary["totals"]["gpu_s"])
    assert seen["ray_litelvlm_cost"][-1] == pytest.approx(summary["cost"])
    assert seen["ray_litelvlm_eta_seconds"][-1] == 0
    assert max(seen["ray_litelvlm_eta_seconds"]) > 0
    assert seen["ray_litelvlm_bytes_total direction=read"][-1] == summary["totals"]["bytes_read"]


def test_the_actors_metrics_are_seen_while_they_work(scraped: tuple[dict[str, list[float]], dict[str, Any]]) -> None:
    seen, summary = scraped
    tokens = [max(seen[f"ray_litelvlm_visual_tokens_total state={state}"]) for state in ("in", "kept")]
    assert 0 < tokens[0] <= summary["totals"]["visual_tokens"]
    assert tokens[1] == tokens[0] * 21 / 64
    assert 0 < max(seen["ray_litelvlm_stage_seconds_total stage=sam"]) <= summary["totals"]["sam_s"] * 1.001
    assert 0 < max(seen["ray_litelvlm_device_seconds_total kind=annotate"]) <= summary["totals"]["annotate_s"] * 1.001
