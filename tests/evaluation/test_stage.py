"""The actor that evaluates shards, called as a plain object, and what makes a shard's answers count."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from litelvlm.evaluation.config import SweepConfig
from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.evaluation.protocol import Protocol
from litelvlm.evaluation.records import ANSWER_SCHEMA
from litelvlm.evaluation.stage import EvaluatedShard, EvaluateStage, commit_answers
from litelvlm.pipeline.errors import ModelLoadError
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.markers import read_data, read_marker
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardTask, ShardWork
from litelvlm.pipeline.storage.store import Storage
from tests.evaluation.fakes import FakeEvaluation
from tests.fakes import true_mask
from tests.pipeline.samples import picture

SHARD = Shard(
    shard_id="abc",
    index=3,
    file="f",
    id_prefix="f",
    row_group=0,
    row_group_start=0,
    row_start=0,
    row_stop=2,
    num_rows=2,
)
SWEEP = SweepConfig(rules=("none", "trim"), budgets=(4,))


def _work() -> ShardWork:
    """An image with two phrases, in the wrong order, and one that could not be decoded."""
    rgb, phrases = picture(0), ("a dog", "the red box")
    drafts = [
        Draft(source_row=0, phrase_index=index, phrase=phrases[index], prompt=phrases[index],
              truth=encode_mask(true_mask(rgb, phrases[index])))
        for index in (1, 0)
    ]  # fmt: skip
    good = ImageWork(image_id="good", image_key="k0", file_name="", drafts=drafts, height=24, width=32, prepared=rgb)
    bad_draft = Draft(source_row=1, phrase_index=0, phrase="a dog", prompt="a dog")
    bad = ImageWork(image_id="bad", image_key="k1", file_name="", drafts=[bad_draft], height=None, width=None)
    bad.fail("no image")
    return ShardWork(task=ShardTask(shard=SHARD), images=[good, bad])


def _stage(storage: Storage, engine: FakeEvaluation) -> EvaluateStage:
    return EvaluateStage(engine, storage, "session", None, SWEEP, Protocol(), {"abc": (0,)})


def _evaluated(tmp_path: Path) -> EvaluatedShard:
    return _stage(Storage(str(tmp_path)), FakeEvaluation()).process(_work())


def test_rows_stand_in_one_order_whatever_the_order_of_answers(tmp_path: Path) -> None:
    result = _evaluated(tmp_path)
    places = [(row["combination"], row["source_row"], row["phrase_index"]) for row in result.rows]
    assert places == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0)]
    assert all(set(row) <= set(ANSWER_SCHEMA.names) for row in result.rows)
    assert [row.get("retained") is not None for row in result.rows] == [True, True, False] * 2  # row 0 is an example
    assert result.conversations == ["k0"]
    assert (result.facts.images, result.facts.prompts, result.facts.llm_s) == (1, 2, [0.25, 0.25])


def test_a_model_that_cannot_be_loaded_is_told_by_the_first_shard(tmp_path: Path) -> None:
    stage = _stage(Storage(str(tmp_path)), FakeEvaluation(load_error="no weights"))
    with pytest.raises(ModelLoadError, match="no weights"):
        stage.process(_work())


def test_a_shard_counts_once(tmp_path: Path) -> None:
    storage, result = Storage(str(tmp_path)), _evaluated(tmp_path)
    first = commit_answers(storage, result)
    assert (first.shard_id, first.index, first.rows, first.answers, first.failed) == ("abc", 3, 2, 6, 2)
    second = commit_answers(storage, dataclasses.replace(result, rows=[]))
    assert second == first == read_marker(storage, "abc", AnswersMarker)  # whoever is late has lost
    table = read_data(storage, first, ANSWER_SCHEMA)
    assert [row["status"] for row in table.to_pylist()] == ["scored", "scored", "failed"] * 2
