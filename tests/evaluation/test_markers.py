"""The marker of an evaluated shard: what is written is read, and what is damaged is refused by name."""

from __future__ import annotations

import json

import pytest

from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.pipeline.errors import DataError
from tests.evaluation.samples import answers_marker


def test_what_is_written_is_read() -> None:
    marker = answers_marker("k0", "k1", device="H100")
    assert AnswersMarker.from_json(marker.to_json(), "m") == marker


def test_a_fact_that_is_missing_is_named() -> None:
    content = json.loads(answers_marker("k0").to_json())
    del content["facts"]["llm_s"]
    with pytest.raises(DataError, match="llm_s"):
        AnswersMarker.from_json(json.dumps(content).encode(), "m")
