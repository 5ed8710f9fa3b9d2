"""A shard is a fair piece of work: fewer rows where they ask much or weigh much, the same for the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.shards.manifest import RunPlan, make_plan
from tests.pipeline.samples import run_config

PNG = b"\x89PNG" + bytes(range(200)) * 5_000  # 1 MB


def plan_of(path: Path, columns: dict[str, Any], row_group_size: int, **settings: Any) -> RunPlan:
    pq.write_table(pa.table(columns), path / "in.parquet", row_group_size=row_group_size)
    config = run_config(str(path / "in.parquet"), path / "out", **{"shard_images": None} | settings)
    return make_plan(config, revision="r")


@pytest.mark.parametrize(
    ("num_phrases", "most"),
    [(1, 64), (3, 64), (8, 64), (9, 56), (80, 6), (600, 1)],
)
def test_rows_that_ask_much_make_small_shards(tmp_path: Path, num_phrases: int, most: int) -> None:
    phrases = [[f"thing {number}" for number in range(num_phrases)]] * 130
    plan = plan_of(tmp_path, {"image": ["a.jpg"] * 130, "phrases": phrases}, 130)
    assert max(shard.num_rows for shard in plan.shards) == most
    assert plan.num_rows == 130


@pytest.mark.slow
def test_rows_that_weigh_much_make_small_shards(tmp_path: Path) -> None:
    images = [PNG[:-4] + number.to_bytes(4, "big") for number in range(40)]
    assert len(PNG) > 1_000_000
    heavy = [image * 3 for image in images]
    plan = plan_of(tmp_path, {"image": heavy, "phrase": ["dog"] * 40}, 40)
    assert [shard.num_rows for shard in plan.shards] == [22, 18]  # 3 MB each, 64 MiB a shard
    as_structs = [{"bytes": image, "path": "a.png"} for image in heavy]
    assert len(plan_of(tmp_path, {"image": as_structs, "phrase": ["dog"] * 40}, 40).shards) == 2


def test_what_is_asked_for_is_done(tmp_path: Path) -> None:
    columns = {"image": ["a.jpg"] * 130, "phrases": [["a", "b"] * 300] * 130}
    assert len(plan_of(tmp_path, columns, 130, shard_images=100).shards) == 2


def test_every_file_has_its_own_size(tmp_path: Path) -> None:
    for name, asked in (("a", 1), ("b", 128)):
        columns = {"image": ["a.jpg"] * 64, "phrases": [["thing"] * asked] * 64}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    plan = make_plan(run_config(str(tmp_path), tmp_path / "out", shard_images=None), revision="r")
    assert [shard.num_rows for shard in plan.shards] == [64] + [4] * 16


def test_a_column_whose_name_holds_a_dot_is_measured_or_left(tmp_path: Path) -> None:
    columns = {"image": ["a.jpg"] * 70, "my.phrases": [["thing"] * 80] * 70}
    plan = plan_of(tmp_path, columns, 70, phrase_column="my.phrases")
    assert plan.num_rows == 70
