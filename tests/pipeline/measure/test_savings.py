"""What pruning saved: as measured on both ways, and as the model's sizes have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from litelvlm.pipeline.measure.savings import savings, summarise
from litelvlm.pipeline.shards.markers import Baseline, WayTaken


def test_a_summary_tells_the_prefill_from_the_whole() -> None:
    part = Baseline(
        images=2, phrases=3, pruned=WayTaken(s=1.0, llm_s=0.2, peak_bytes=10),
        unpruned=WayTaken(s=2.0, llm_s=0.8, peak_bytes=30), iou=[1.0, 0.5, 0.0],
        truth={"pruned": [(5, 10), None, (0, 0)], "unpruned": [(9, 10), None, (0, 30)]},
    )  # fmt: skip
    other = replace(part, unpruned=WayTaken(s=4.0, llm_s=1.2, peak_bytes=20))
    found = summarise([part, other])
    assert (found["images"], found["phrases"]) == (4, 6)
    assert (found["measured_speedup"], found["measured_prefill_speedup"]) == (3.0, pytest.approx(5.0))
    assert (found["pruned_peak_bytes"], found["unpruned_peak_bytes"]) == (10, 30)
    assert found["mean_iou_pruned_vs_unpruned"] == 0.5
    assert found["iou_quantiles"]["0.5"] == 0.5
    assert found["truth"]["phrases"] == 4
    assert found["truth"]["pruned"] == {"ciou": 0.5, "giou": 0.75}
    assert found["truth"]["unpruned"] == {"ciou": pytest.approx(18 / 80), "giou": pytest.approx(0.45)}
    assert summarise([]) is None


def test_savings_say_what_was_measured_and_what_is_modelled() -> None:
    totals = {
        "annotate_s": 100.0,
        "held_s": 125.0,
        "gpu_s": 250.0,
        "baseline_s": 5.0,
        "tflop": 2.0,
        "unpruned_tflop": 6.0,
    }
    baseline = {"images": 8, "measured_speedup": 1.5, "measured_prefill_speedup": 2.5}
    found = savings(totals, baseline, gpu_price=36.0)
    assert found["measured"]["saved_gpu_s"] == 100.0
    assert found["measured"]["saved_cost"] == 1.0
    assert "8 images" in found["measured"]["basis"]
    assert found["modelled"]["ratio"] == 3.0
    assert "no timer" in found["modelled"]["basis"]
    assert savings(totals | {"tflop": None}, None, None) == {"measured": None, "modelled": None}


def test_quantiles_are_numpys_over_all_phrases_and_over_shards() -> None:
    ways = {"pruned": WayTaken(s=1.0, llm_s=0.0, peak_bytes=None)}
    parts = [
        Baseline(images=1, phrases=3, unpruned=WayTaken(s=s, llm_s=0.0, peak_bytes=None), iou=iou, **ways)
        for s, iou in ((2.0, [0.1, 0.9, 0.4]), (3.0, [1.0, 0.7]), (5.0, []))
    ]
    found = summarise(parts)
    assert found is not None
    values = [0.1, 0.9, 0.4, 1.0, 0.7]
    assert found["iou_quantiles"] == {
        f"{share:g}": pytest.approx(np.quantile(values, share)) for share in (0.05, 0.25, 0.5, 0.75, 0.95)
    }
    assert found["measured_speedup_quantiles_of_shards"]["0.5"] == 3.0
    assert found["measured_prefill_speedup"] is None
    assert (found["pruned_peak_bytes"], found["truth"]) == (None, None)


def test_a_comparison_without_phrases_has_no_mean() -> None:
    way = WayTaken(s=0.0, llm_s=0.0, peak_bytes=None)
    found = summarise([Baseline(images=1, phrases=0, pruned=way, unpruned=way, iou=[])])
    assert found is not None
    assert (found["mean_iou_pruned_vs_unpruned"], found["iou_quantiles"], found["measured_speedup"]) == (None,) * 3


def test_a_pruning_that_costs_time_saves_less_than_nothing() -> None:
    totals = {"annotate_s": 100.0, "held_s": 100.0, "gpu_s": 100.0, "baseline_s": 0.0, "tflop": 0.0}
    baseline = {"images": 8, "measured_speedup": 0.8, "measured_prefill_speedup": None}
    found = savings(totals, baseline, gpu_price=None)
    assert found["measured"]["saved_gpu_s"] == pytest.approx(-20.0)
    assert found["measured"]["unpruned_annotate_gpu_s"] == pytest.approx(80.0)
    assert found["measured"]["saved_cost"] is None
    assert found["modelled"] is None
