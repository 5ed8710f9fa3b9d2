"""`run.json`: written and read back whole, absent while no session has ended, told by name where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.measure.run_summary import find_summary
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline import planned_runs as made


def test_what_was_written_is_found(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert find_summary(storage) is None
    summary = made.summary(
        counts={"rows": 3}, totals={"gpu_s": 1.5, "cost": None}, session={"cost": None}, baseline={"iou": [1.0]}
    )
    storage.write_bytes("run.json", summary.to_json())
    assert find_summary(storage) == summary


def test_people_can_read_it(tmp_path: Path) -> None:
    assert b'\n "state": "done",\n' in made.summary().to_json()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"state": "done"', '"state": 3', r"run\.json is damaged: state: "),
        ('"rule": "paper"', '"rule": "guess"', r"run\.json is damaged: config\.model"),
        ('"version": 5', '"version": 1', r"run\.json says version 1"),
        ('"exit_code"', '"exit"', r"run\.json is damaged: exit"),
    ],
)
def test_damage_is_told_by_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = made.summary().to_json().decode()
    assert old in text
    storage = Storage(str(tmp_path))
    storage.write_bytes("run.json", text.replace(old, new).encode())
    with pytest.raises(DataError, match=message):
        find_summary(storage)
