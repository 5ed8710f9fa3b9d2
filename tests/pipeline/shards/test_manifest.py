"""Shards: deterministic, covering every selected row once, within one row group."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.shards.manifest import Manifest, make_plan, selected_rows
from litelvlm.pipeline.shards.read import read_shard
from tests.pipeline.samples import row, run_config, write_table


def plan_of(source: Any, output: Any = "/nonexistent/out", **settings: Any) -> Any:
    return make_plan(run_config(source, output, **settings), revision="r1")


def covered(plan: Any, sample: Any = None) -> Any:
    return [
        (shard.file, number)
        for shard in plan.shards
        for number in list(selected_rows(shard.file, shard.row_start, shard.row_stop, sample))[: shard.num_rows]
    ]


@pytest.fixture
def source(tmp_path: Path) -> Any:
    write_table(tmp_path / "in/b.parquet", [row(number) for number in range(45)], row_group_size=20)
    write_table(tmp_path / "in/sub/a.parquet", [row(number) for number in range(7)])
    write_table(tmp_path / "in/_hidden/c.parquet", [row(1)])
    return str(tmp_path / "in")


def test_every_row_is_in_one_shard_and_no_shard_crosses_a_row_group(source: Any) -> None:
    plan = plan_of(source)
    files = [f"{source}/b.parquet", f"{source}/sub/a.parquet"]
    assert covered(plan) == [(files[0], n) for n in range(45)] + [(files[1], n) for n in range(7)]
    assert [shard.num_rows for shard in plan.shards] == [8, 8, 4, 8, 8, 4, 5, 7]
    assert all(shard.row_group_start <= shard.row_start < shard.row_group_start + 20 for shard in plan.shards)
    assert len({shard.shard_id for shard in plan.shards}) == len(plan.shards)
    assert [shard.shard_id for shard in plan.shards] == sorted(shard.shard_id for shard in plan.shards)


def test_the_same_input_gives_the_same_plan_however_it_is_named(source: Any) -> None:
    plan = plan_of(source)
    for inputs in ([f"{source}/**/*.parquet"], [f"{source}/sub/a.parquet", f"{source}/b.parquet", f"{source}/sub"]):
        other = plan_of(inputs)
        if "**" in inputs[0]:  # a glob says itself what it wants, hidden directories included
            assert set(covered(plan)) < set(covered(other))
        else:
            assert other.shards == plan.shards
            assert other.fingerprint == plan.fingerprint
    made = Manifest(shards=plan.shards).to_parquet()
    assert made == Manifest(shards=plan_of(source).shards).to_parquet()
    manifest = pq.read_table(io.BytesIO(made)).to_pylist()
    assert [shard["shard_id"] for shard in manifest] == [shard.shard_id for shard in plan.shards]


def test_a_limit_takes_the_first_rows(source: Any) -> None:
    assert covered(plan_of(source, limit=21)) == covered(plan_of(source))[:21]
    assert plan_of(source, limit=21).num_rows == 21
    assert plan_of(source, limit=10_000).num_rows == 52


def test_a_sample_does_not_depend_on_shards_and_grows_with_its_share(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [{"image": "x.png", "phrase": "a"}] * 4000, row_group_size=1000)
    small, large = (set(covered(plan_of(source, sample=share), share)) for share in (0.1, 0.3))
    assert small < large
    assert 300 < len(small) < 500
    assert 1000 < len(large) < 1400
    assert set(covered(plan_of(source, sample=0.3, shard_images=100), 0.3)) == large
    assert plan_of(source, sample=0.3).num_rows == len(large)


def test_a_sampled_shard_reads_its_rows_only(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number) for number in range(60)], row_group_size=60)
    plan = plan_of(source, sample=0.3, shard_images=5)
    read = [item.number for shard in plan.shards for item in read_shard(shard, plan.mapping, {}, sample=0.3)]
    assert read == [number for _, number in covered(plan, 0.3)]
    assert read == list(selected_rows(source, 0, 60, 0.3))


def test_the_output_below_the_input_is_not_read(source: Any, tmp_path: Path) -> None:
    write_table(tmp_path / "in/out/records/part-00000.parquet", [row(1)])
    assert plan_of(source, output=tmp_path / "in/out").num_rows == 52


def test_a_rewritten_file_changes_the_fingerprint(source: Any, tmp_path: Path) -> None:
    before = plan_of(source).fingerprint
    write_table(tmp_path / "in/sub/a.parquet", [row(number) for number in range(8)])
    assert plan_of(source).fingerprint != before


def broken_files(tmp_path: Path) -> Iterator[Any]:
    good = tmp_path / "good.parquet"
    write_table(good, [row(1)])
    data = good.read_bytes()
    yield "empty", b""
    yield "text", b"not parquet at all, but long enough"
    yield "truncated", data[:-20]
    yield "lying footer", data[:-8] + b"\xff\xff\xff\x7f" + data[-4:]
    length = int.from_bytes(data[-8:-4], "little")
    yield "garbled footer", data[: -8 - length] + b"\xff" * length + data[-8:]


def test_files_that_are_no_parquet_are_named(tmp_path: Path) -> None:
    for name, data in broken_files(tmp_path):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}.parquet is not readable Parquet"):
            plan_of(str(path))


@pytest.mark.parametrize("given", ["{}/nowhere.parquet", "{}/nowhere/*.parquet", "{}/empty"])
def test_paths_that_hold_nothing_are_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="--input"):
        plan_of(given.format(tmp_path))


def test_an_input_without_rows_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": pa.array([], pa.binary()), "phrase": pa.array([], pa.string())}), tmp_path / "x.parquet"
    )
    with pytest.raises(ValueError, match="no row to annotate"):
        plan_of(str(tmp_path / "x.parquet"))


def test_files_are_one_table_whatever_one_of_them_leaves_open(tmp_path: Path) -> None:
    images = {"image": [b"x", b"y"]}
    files = {
        "0": {"image_id": ["a", "b"], **images, "phrases": [["p"], ["q"]]},
        "1": {name: pa.nulls(0) for name in ("image_id", "image", "phrases")},
        "2": {"image_id": pa.nulls(2), **images, "phrases": [["p"], []]},
        "3": {"image_id": ["c", "d"], **images, "phrases": pa.nulls(2)},
        "4": {"image_id": ["e", "f"], **images, "phrases": pa.array([[], []], pa.list_(pa.null()))},
    }
    for name, columns in files.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    plan = plan_of(str(tmp_path))
    assert plan.mapping.describe() == "image=image (bytes), phrase=phrases, id=image_id"
    assert (plan.num_files, plan.num_rows, plan.num_input_rows) == (5, 8, 8)
    assert plan.remarks == ("1 files without rows are left out",)
    pq.write_table(pa.table({**images, "phrases": pa.array([{"a": 1}] * 2)}), tmp_path / "5.parquet")
    with pytest.raises(ValueError, match=r"5\.parquet"):
        plan_of(str(tmp_path))


def test_a_plan_says_what_would_be_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("light", 1_000), ("heavy", 100_000)):
        images = [rng.bytes(size) for _ in range(64)]
        table = pa.table({"image": images, "phrase": ["p"] * 64})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=64, compression="none")
    plan = plan_of(str(tmp_path), shard_images=16)
    light, heavy = (64 * size for size in (1_000, 100_000))
    assert plan.bytes_reread == pytest.approx((light + heavy) * (16 + 32 + 48) / 64, rel=0.1)
    assert plan.bytes_a_shard == pytest.approx(heavy / 4, rel=0.1)
    assert plan_of(str(tmp_path), shard_images=64).bytes_reread == 0


def test_files_with_other_columns_are_refused(source: Any, tmp_path: Path) -> None:
    write_table(tmp_path / "in/z.parquet", [{"image": b"x", "caption": "a dog"}])
    with pytest.raises(ValueError, match="differ in their columns"):
        plan_of(source)


def test_a_missing_column_is_named(source: Any) -> None:
    with pytest.raises(ValueError, match="--image-column picture"):
        plan_of(source, image_column="picture")
