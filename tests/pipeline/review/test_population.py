"""What of a run can be judged by people."""

from __future__ import annotations

import numpy as np

from litelvlm.pipeline.review.population import NO_CLASS, read_population, stratum_hash
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.where import Where
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
