"""What travels between the stages: any object in a row, and what of an image the model is asked."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardTask, pack, unpack, unpack_payload
from tests.pipeline.shards.test_read import SHARD


def image(*drafts: Draft, prepared: bool = True) -> ImageWork:
    pixels = np.zeros((2, 2, 3), np.uint8) if prepared else None
    return ImageWork(image_id="i", image_key="k", file_name="i.png", drafts=list(drafts), prepared=pixels)


def test_an_object_comes_back_from_a_block_and_from_a_row_of_it() -> None:
    task = ShardTask(shard=SHARD, prior_kills={"decode": 2}, compared_rows=frozenset({3}), truth_rows=None)
    table = pack(task)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:  # as Ray stores it
        writer.write_table(table)
    stored = pa.ipc.open_stream(sink.getvalue()).read_all()
    assert unpack(stored) == task
    assert unpack_payload(stored.to_pylist()[0]) == task


def test_a_batch_holds_one_payload() -> None:
    with pytest.raises(AssertionError, match="exactly one payload"):
        unpack(pa.concat_tables([pack(1), pack(2)]))


def test_only_phrases_that_can_be_asked_are() -> None:
    good = Draft(source_row=0, phrase_index=0, phrase="a dog", prompt="a dog")
    unusable = Draft(source_row=0, phrase_index=1, phrase="", error="phrase: empty")
    failed = Draft(source_row=0, phrase_index=2, phrase="x", prompt="x", error="the model failed")
    dropped = Draft(source_row=0, phrase_index=3, phrase="y", prompt="y", dropped="reviewed: edited")
    assert image(good, unusable, failed, dropped).asked == [good]
    assert image(good, prepared=False).asked == []


def test_an_image_that_fails_keeps_the_reasons_its_phrases_have() -> None:
    work = image(
        Draft(source_row=0, phrase_index=0, phrase="a", prompt="a"),
        Draft(source_row=0, phrase_index=1, phrase="", error="phrase: empty"),
        Draft(source_row=0, phrase_index=2, phrase="b", prompt="b", dropped="reviewed: edited"),
    )
    work.fail("killed its worker")
    assert [draft.error for draft in work.drafts] == ["killed its worker", "phrase: empty", None]
    assert work.prepared is None
    assert work.asked == []


@pytest.mark.parametrize(
    ("rows", "expected"), [(frozenset(), [False, False]), ({1}, [False, True]), (None, [True, True])]
)
def test_truth_is_read_of_no_row_of_some_or_of_all(rows: frozenset[int] | None, expected: list[bool]) -> None:
    task = ShardTask(shard=SHARD, truth_rows=rows)
    assert [task.reads_truth_of(row) for row in (0, 1)] == expected
