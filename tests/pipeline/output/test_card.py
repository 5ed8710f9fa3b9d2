"""Hugging Face's library finds the records of a run among its other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.output.card import write_card
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows, picture, png, read_records


@pytest.mark.slow
def test_a_run_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    storage, _ = make_output(tmp_path, mixed_rows(20), shard_images=4)
    (tmp_path / "out/upright").mkdir()
    (tmp_path / "out/upright/a.png").write_bytes(png(picture(0)))
    found = datasets.load_dataset(storage.root, split="train", cache_dir=str(tmp_path / "cache"))
    assert found["record"][:] == [one["record"] for one in read_records(storage.root)]
    names = datasets.load_dataset(storage.root, "names", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(names) == 19


def test_a_card_of_the_users_own_stays(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_card(storage, names=False)
    assert b"names.parquet" not in storage.read_bytes("README.md")
    write_card(storage, names=True)
    assert b"names.parquet" in storage.read_bytes("README.md")
    storage.write_bytes("README.md", b"# Mine\n")
    write_card(storage, names=True)
    assert storage.read_bytes("README.md") == b"# Mine\n"
