"""Rows of the engine against the release's loop, and what pruning gains."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contest import measure, one_by_one, pruning_speedups, pruning_to, run_engine, utilisation
from benchmarks.engine import draw_records, line
from benchmarks.full_size import Contest
from litelvlm import Annotator


@pytest.mark.slow
def test_a_row_holds_rates_utilisations_and_stages(small_contest: Contest) -> None:
    annotator = small_contest.annotator
    drawn: list[int] = []

    def draw(number: int) -> Any:
        drawn.append(number)
        return small_contest.records(3, 500 + number)

    rows = measure(
        annotator, draw, pruning_to(annotator, "paper", 12), ("separate", "shared"), num_loop_images=1,
        peak_flop_per_s=1e12, rounds=1,
    )  # fmt: skip
    assert len(set(drawn)) == 4, "no layout finds texts that another one has embedded"
    assert [(row["layout"], row["phrases_per_image"], row["tokens"]) for row in rows] == [
        ("separate", 3, 12), ("shared", 3, 12),
    ]  # fmt: skip
    for row in rows:
        assert row["ms_per_image"] * row["images_per_s"] == pytest.approx(1000, rel=0.01)
        assert row["phrases_per_s"] == pytest.approx(3 * row["images_per_s"], rel=0.01)
        assert row["mfu_needed"] == pytest.approx(
            row["needed_gflop_per_phrase"] * row["phrases_per_s"] / 1000, abs=6e-4
        )
        assert row["mfu_executed"] == pytest.approx(row["mfu_needed"] / (1 - row["padding_waste"]), abs=2e-4)
        assert row["against_a_record_at_a_time"] > 0
        assert row["against_an_image_at_a_time"] > 0
        assert set(row["stage_ms_per_image"]) >= {"clip", "llm", "sam", "decode_masks", "masks"}
        assert 0 < sum(row["stage_ms_per_image"].values()) < 1.5 * row["ms_per_image"]
        assert row["device_ms_per_image"] is row["peak_memory_gb"] is None


def test_without_a_loop_there_is_nothing_to_compare(small_contest: Contest) -> None:
    pruning = pruning_to(small_contest.annotator, "paper", 36)
    drawn: list[int] = []

    def draw(number: int) -> Any:
        drawn.append(number)
        return small_contest.records(1, 500 + number)

    rows = [
        measure(small_contest.annotator, draw, pruning, ("rounds",), num_loop_images=0, peak_flop_per_s=None, rounds=1)
        for _ in range(2)
    ]
    assert len(set(drawn)) == len(drawn) == 4, "nor those of the measurement before"
    (row,) = rows[-1]
    assert pruning.rule == "none"
    assert not any(name.startswith("against") for name in row)
    assert row["mfu_needed"] is row["mfu_executed"] is None


def test_one_by_one_and_together_ask_the_same(small_contest: Contest) -> None:
    records = small_contest.records(3, 0)
    alone = one_by_one(records)
    assert [phrase for _, (phrase,) in alone] == [phrase for _, phrases in records for phrase in phrases]
    results = run_engine(small_contest.annotator, records, pruning_to(small_contest.annotator, "paper", 8), "shared")
    assert sum(result.num_phrases for result in results) == len(alone)


def test_pruning_is_held_against_what_its_operations_predict() -> None:
    row = {"phrases_per_image": 3, "layout": "separate"}
    rows = [
        row | {"tokens": 100, "phrases_per_s": 10.0, "needed_gflop_per_phrase": 50.0},
        row | {"tokens": 25, "phrases_per_s": 18.0, "needed_gflop_per_phrase": 25.0},
        row | {"tokens": 25, "phrases_per_s": 9.0, "needed_gflop_per_phrase": 1.0, "layout": "rounds"},
    ]
    assert pruning_speedups(rows) == [row | {"tokens": 25, "measured": 1.8, "predicted": 2.0, "share": 0.9}]
    assert pruning_speedups([]) == []


def test_utilisation_is_work_over_time_and_peak() -> None:
    assert utilisation(400e12, 800e12) == 0.5
    assert utilisation(400e12, None) is None


def test_scenes_of_another_round_ask_other_texts(demo_annotator: Annotator) -> None:
    first, second = (draw_records(demo_annotator, 2, 5, number) for number in range(2))
    asked = [[phrase for _, phrases in records for phrase in phrases] for records in (first, second)]
    assert not set(asked[0]) & set(asked[1])
    assert len(asked[0]) == 10
    assert (first[0][0].clip_pixels == second[0][0].clip_pixels).all()


def test_a_row_is_a_line() -> None:
    row = {
        "phrases_per_image": 3, "tokens": 48, "layout": "shared", "phrases_per_s": 98.59,
        "against_a_record_at_a_time": 3.61, "against_an_image_at_a_time": 1.61,
    }  # fmt: skip
    assert line(row).startswith("3 phrases an image,  48 tokens, shared  :     98.6 phrases/s, ")
    assert line(row).endswith(",   3.6x a record at a time,  1.6x an image at a time")
