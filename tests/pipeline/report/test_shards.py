"""Shards to figures: where the time went, rates over time, stragglers and actors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from litelvlm.pipeline.report.shards import (
    ShardTable,
    actors,
    host_seconds,
    mean_mfu,
    phrases_per_device_second,
    stragglers,
    timeline,
    usage,
)
from tests.pipeline.report.report_runs import shard_table


def test_the_parts_of_the_held_time_add_up_to_it() -> None:
    used = usage(shard_table(40, baseline_s=2.0, held_s=12.0))
    assert sum(used.seconds.values()) == pytest.approx(used.held_s) == pytest.approx(480.0)
    assert used.busy_share == pytest.approx(11 / 12)
    assert used.share("llm") == pytest.approx(0.25)


def test_nothing_of_a_shard_is_lost_over_time() -> None:
    table = shard_table(57, phrases=np.arange(57) + 1)
    line = timeline(table, steps=33)
    assert sum(line.phrases_per_s) * line.step_s == pytest.approx(57 * 58 / 2)
    assert sum(line.images_per_s) * line.step_s == pytest.approx(57 * 64)
    assert line.worked_s == pytest.approx(150.0)
    assert line.busy_share[:-4] == pytest.approx([0.9] * 29)


def test_pauses_between_sessions_are_cut_out_and_marked() -> None:
    start = 1.8e9 + np.concatenate([10.0 * np.arange(20), 90_000.0 + 10.0 * np.arange(20)])
    table = shard_table(40, actor_from=start, actor_to=start + 10, finished_at=start + 10, actor="a")
    line = timeline(table)
    assert line.worked_s == pytest.approx(400.0)
    assert line.breaks == pytest.approx([0.5])
    assert line.cut_s == pytest.approx(90_000 - 200)
    assert line.ended_at - line.started_at == pytest.approx(90_200)


def test_loading_the_model_counts_as_held_but_not_as_work() -> None:
    table = shard_table(1, startup_s=90.0, held_s=100.0, actor_to=1.8e9 + 100, finished_at=1.8e9 + 100)
    line = timeline(table, steps=10)
    assert line.phrases_per_s[:9] == pytest.approx([0.0] * 9, abs=1e-6)
    assert line.phrases_per_s[9] == pytest.approx(20.0, rel=1e-3)
    assert line.busy_share[0] == pytest.approx(0.0, abs=1e-6)


def test_a_straggler_is_found_with_the_part_that_it_spent_its_time_in() -> None:
    sam = np.full(30, 2.0)
    sam[17] = 20.0
    found, count = stragglers(shard_table(30, sam_s=sam, annotate_s=sam + 7.0, attempts=[1] * 17 + [3] + [1] * 12))
    assert count == 1
    assert found[0].shard_id.startswith("0000017")
    assert found[0].factor == pytest.approx(27.5 / 9.5)
    assert (found[0].mostly, found[0].attempts, found[0].megapixels_per_image) == ("sam", 3, 1.0)


def test_alike_shards_have_no_stragglers() -> None:
    assert stragglers(shard_table(30)) == ([], 0)
    assert stragglers(shard_table(1)) == ([], 0)


def test_actors_share_out_all_shards_the_least_busy_first() -> None:
    idle = np.where(np.arange(41) % 4 == 2, 5.0, 0.5)
    found = actors(shard_table(41, idle_s=idle))
    assert found[0].name == "node-2:102"
    assert sum(actor.shards for actor in found) == 41
    assert sum(actor.phrases for actor in found) == 41 * 200
    assert found[0].busy_share == pytest.approx(9 / 14.5)


def test_many_shards_are_grouped_and_keep_their_extremes() -> None:
    took = np.full(1_000, 10.0)
    took[123], took[456] = 1.0, 100.0
    spread = phrases_per_device_second(shard_table(1_000, annotate_s=took))
    assert spread.shards_per_step == 7
    assert len(spread.middle) == math.ceil(1_000 / 7) <= 160
    assert max(spread.high) == pytest.approx(200.0)
    assert min(spread.low) == pytest.approx(2.0)
    assert set(spread.middle) == {20.0}


def test_columns_of_nulls_give_dashes_not_errors() -> None:
    columns = ("megapixels", "actor_from", "actor_to", "attempts", "images", "baseline_images", "mfu", "tflop")
    table = shard_table(5, **dict.fromkeys(columns))
    line = timeline(table)
    assert sum(line.phrases_per_s) * line.step_s == pytest.approx(1_000)
    assert table.total("tflop") is None
    assert table.total("images") is None
    assert actors(table)[0].shards == 2


def test_rows_make_a_table_however_many_they_are() -> None:
    assert len(ShardTable.of_rows([])) == 0
    rows = ({"shard_id": str(at), "index": at, "phrases": 2} for at in range(5_001))  # more than one chunk
    table = ShardTable.of_rows(rows)
    assert (len(table), table.total("phrases"), table.total("ok")) == (5_001, 10_002.0, None)
    assert table.sum_of("phrases", "ok") == 10_002.0


def test_host_seconds_are_all_stages_but_the_models() -> None:
    found = host_seconds(shard_table(3, read_s=1.0, wait_s=2.0, commit_s=None))
    assert found == {"read": 3.0, "fetch": 0.0, "decode": 0.0, "wait": 6.0, "encode": 0.0, "commit": 0.0}


def test_utilisation_is_weighed_by_the_models_seconds() -> None:
    table = shard_table(3, mfu=[0.1, 0.4, None], annotate_s=[30.0, 10.0, 50.0])
    assert mean_mfu(table) == pytest.approx((0.1 * 30 + 0.4 * 10) / 40)
    assert mean_mfu(shard_table(2, mfu=None)) is None


def test_no_shard_has_no_figures() -> None:
    nothing = ShardTable.of_rows([])
    assert (timeline(nothing), phrases_per_device_second(nothing), actors(nothing)) == (None, None, [])
    assert usage(nothing).busy_share is None
    assert usage(nothing).share("llm") == 0.0
