"""Records of runs, finished or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import read_records


def _keys(run: Path) -> list[str]:
    return [
        key for table in RunRecords(Storage(str(run))).tables(["record"]) for key in table.column("record").to_pylist()
    ]


def test_they_are_those_of_the_run_in_its_order(run: Path) -> None:
    assert _keys(run) == [one["record"] for one in read_records(run)]


def test_those_of_a_run_that_goes_on_begin_like_those_of_the_whole(run: Path, open_run: Path) -> None:
    begun = _keys(open_run)
    assert 0 < len(begun) < len(_keys(run))
    assert begun == _keys(run)[: len(begun)]


@pytest.mark.parametrize("which", ["run", "open_run"])
def test_some_are_taken_by_their_places(which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    places = np.array([0, 3, 11, 12])
    taken = RunRecords(Storage(str(path))).take(places, ["record"]).column("record").to_pylist()
    assert taken == [_keys(path)[place] for place in places]
    assert RunRecords(Storage(str(path))).take(np.array([], np.int64), ["record"]).num_rows == 0


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        RunRecords(Storage(str(tmp_path)))
