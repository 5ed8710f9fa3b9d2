"""An output belongs to one plan: claimed once, refused to others, cleared of what a run writes and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.shards.claim import check_claim, claim_output, claimed_run, clear_output, find_run, refuse_others
from litelvlm.pipeline.shards.manifest import RunPlan, make_plan, read_manifest
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import row, run_config, write_table


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_table(tmp_path / "in.parquet", [row(number) for number in range(10)])


def planned(source: str, tmp_path: Path, **settings: Any) -> tuple[Storage, RunPlan, RunConfig]:
    config = run_config(source, tmp_path / "out", **settings)
    return Storage(config.output), make_plan(config, revision="r"), config


def test_an_output_is_claimed_once_and_resumed_by_the_same_plan(source: str, tmp_path: Path) -> None:
    storage, plan, config = planned(source, tmp_path)
    assert find_run(storage) is None
    assert not claim_output(storage, plan, config)
    assert claim_output(storage, plan, config)
    assert claim_output(*planned(source, tmp_path, gpu_price=3.0))  # decides no result
    saved = claimed_run(storage)
    assert (saved.fingerprint, saved.facts, saved.config) == (plan.fingerprint, plan.facts, config)
    assert read_manifest(storage).column("shard_id").to_pylist() == [shard.shard_id for shard in plan.shards]


def test_a_run_with_other_settings_is_refused_with_what_differs_and_the_way_out(source: str, tmp_path: Path) -> None:
    claim_output(*planned(source, tmp_path))
    for step in refuse_others, claim_output:
        with pytest.raises(ValueError, match="num_retain_tokens was 21 and is now 48") as caught:
            step(*planned(source, tmp_path, num_retain_tokens=48))
        assert "choose another --output, or start over with --overwrite" in str(caught.value)
    refuse_others(*planned(source, tmp_path, num_retain_tokens=48, overwrite=True))
    assert not claim_output(*planned(source, tmp_path, num_retain_tokens=48, overwrite=True))


def test_secrets_are_not_kept_and_are_given_again(source: str, tmp_path: Path) -> None:
    storage, plan, config = planned(source, tmp_path, storage_options={"key": "hunter2"})
    claim_output(storage, plan, config)
    assert b"hunter2" not in storage.read_bytes("config.json")
    assert claimed_run(storage).config_with({"key": "hunter2"}) == config


def test_files_of_unknown_origin_are_refused_and_others_left_alone(source: str, tmp_path: Path) -> None:
    storage, plan, config = planned(source, tmp_path)
    storage.write_bytes("notes.txt", b"mine")
    storage.write_bytes("records/part-00000.parquet", b"whose?")
    with pytest.raises(ValueError, match=r"holds records/part-00000\.parquet but no config\.json"):
        check_claim(storage, config)
    with pytest.raises(ValueError, match=r"holds records/part-00000\.parquet but no config\.json"):
        claim_output(storage, plan, config)
    check_claim(storage, planned(source, tmp_path, overwrite=True)[2])
    assert storage.list("records") == ["records/part-00000.parquet"]
    claim_output(*planned(source, tmp_path, overwrite=True))
    assert storage.list("records") == []
    assert storage.read_bytes("notes.txt") == b"mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_cannot_be_written_is_found_before_it_is_claimed(source: str, tmp_path: Path, overwrite: bool) -> None:
    storage, _, config = planned(source, tmp_path, overwrite=overwrite)
    check_claim(storage, config)
    assert find_run(storage) is None
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="not writable"):
        check_claim(Storage(str(tmp_path / "file/out")), config)


def test_clearing_removes_a_marker_that_no_listing_shows(source: str, tmp_path: Path) -> None:
    config = run_config(source, f"memory://{tmp_path.name}/out")
    storage, plan = Storage(config.output), make_plan(config, revision="r")
    claim_output(storage, plan, config)
    hidden = f"_done/{plan.shards[0].shard_id}.json"
    storage.write_bytes(hidden, b"{}")

    class Lagging(Storage):
        def list(self, directory: str) -> list[str]:
            return []

    clear_output(Lagging(config.output), plan)
    assert not storage.exists(hidden)
    assert not storage.exists("config.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "config.json is damaged: it is no JSON; start over with --overwrite"),
        (b'{"version": 99}', "says version 99"),
    ],
)
def test_a_claim_that_cannot_be_read_is_told_with_the_way_out(
    source: str, tmp_path: Path, content: bytes, message: str
) -> None:
    storage, plan, config = planned(source, tmp_path)
    storage.write_bytes("config.json", content)
    with pytest.raises(ValueError, match=message):
        claim_output(storage, plan, config)


def test_no_run_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run: there is no config\.json"):
        claimed_run(Storage(str(tmp_path)))
