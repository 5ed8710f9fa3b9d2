"""What of a run can be judged by people."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from litelvlm.pipeline.review.population import NO_CLASS, read_population, stratum_hash
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.where import Where
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import read_records


def test_all_that_can_be_seen_is_in_it(records: RunRecords) -> None:
    rows = read_records(records.storage.root)
    found = read_population(records, Where(None), "phrase")
    wanted = [at for at, one in enumerate(rows) if one["height"] is not None]
    assert found.rows.tolist() == wanted
    assert found.num_left_out == len(rows) - len(wanted) == 1
    assert found.is_mask.tolist() == [rows[at]["status"] == "ok" for at in wanted]
    assert found.is_answer.all()
    assert found.stratum.tolist() == [stratum_hash(rows[at]["phrase"]) for at in wanted]
    scores = [np.nan if rows[at]["score"] is None else rows[at]["score"] for at in wanted]
    np.testing.assert_allclose(found.score, scores)


def test_a_condition_narrows_it(records: RunRecords) -> None:
    found = read_population(records, Where("phrase = 'a dog'"), "none")
    assert len(found) == sum(one["phrase"] == "a dog" and one["height"] is not None
                             for one in read_records(records.storage.root))  # fmt: skip
    assert not found.stratum.any()


def test_records_without_a_class_have_a_stratum_of_their_own() -> None:
    assert stratum_hash(None) == stratum_hash(NO_CLASS) != stratum_hash("car")


@pytest.mark.parametrize("which", ["run", "open_run"])
def test_tables_are_let_go_and_masks_are_not_read(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a queue takes of memory is some bytes a record, whatever the run holds."""
    path: Path = request.getfixturevalue(which)
    passed: list[weakref.ref[object]] = []
    told = RunRecords(Storage(str(path)))
    tables = told.tables

    def watched(columns):  # type: ignore[no-untyped-def]
        assert "mask_rle" not in columns
        for table in tables(columns):
            for row in range(table.num_rows):  # a row at a time, as if the run had so many row groups
                piece = table.slice(row, 1)
                passed.append(weakref.ref(piece))
                yield piece
                del piece
                assert sum(one() is not None for one in passed) <= 1

    monkeypatch.setattr(told, "tables", watched)
    found = read_population(told, Where("score < 2 or score is null"), "phrase")
    assert len(passed) > 20 or which == "open_run"
    columns = (found.rows, found.score, found.risk, found.is_answer, found.is_mask, found.stratum)
    assert len(found) > 5
    assert sum(column.nbytes for column in columns) <= 30 * len(found)
