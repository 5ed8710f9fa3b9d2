"""A second run asks only what reviewers have left to do."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.dry_run import describe_run
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.review.decided import read_decided
from litelvlm.pipeline.review.edits import add_reviews
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.shards.manifest import Shard, make_plan
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.review.test_edits import edit
from tests.pipeline.samples import read_coco, read_records, row, run_config, write_table

VERDICTS = ("unchanged", "edited", "rejected", "absent", "added", "unseen")


def _shards(source: str, root: Path) -> Sequence[Shard]:
    return make_plan(run_config(source, root / "plan"), revision="r").shards


def _review(root: Path, records: list[dict[str, Any]]) -> str:
    """Reviews of these records, verdicts in turn."""
    same = ("record", "image_id", "phrase_index", "phrase", "source_file", "source_row")
    edits = [edit(VERDICTS[at % len(VERDICTS)], **{name: one[name] for name in same}) for at, one in enumerate(records)]
    add_reviews(Storage(str(root / "reviewed")), "first", edits, "newest")
    return str(root / "reviewed")


@pytest.mark.usefixtures("local_ray")
def test_what_is_decided_is_dropped_and_all_else_annotated(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(at, "the red box", "a dog", "blue thing") for at in range(12)])
    assert annotate_dataset(run_config(source, tmp_path / "first"), engine=FakeEngine(), stream=io.StringIO()) == 0
    first = read_records(tmp_path / "first")
    reviewed = _review(tmp_path, first)
    config = run_config(source, tmp_path / "second", skip_reviewed=(reviewed,))
    stream = io.StringIO()
    assert annotate_dataset(config, engine=FakeEngine(), stream=stream) == 0
    assert "24 phrases are reviewed and not asked again" in stream.getvalue()
    second = read_records(tmp_path / "second")
    assert [one["record"] for one in second] == [one["record"] for one in first]
    for at, (before, after) in enumerate(zip(first, second, strict=True)):
        verdict = VERDICTS[at % len(VERDICTS)]
        if verdict in ("rejected", "unseen"):
            beside = dict.fromkeys(("overlap", "num_equal"))  # masks of phrases that are not asked are not there
            assert after | beside == before | beside
        else:
            assert (after["status"], after["dropped"]) == ("dropped", f"reviewed: {verdict}")
            assert (after["mask_rle"], after["score"], after["error"]) == (None, None, None)
    assert len(read_coco(tmp_path / "second")["annotations"]) == 12
    assert "24 phrases are reviewed" in describe_run(config, engine=FakeEngine())
    assert "holds this run, which would resume" in describe_run(config, engine=FakeEngine())
    with pytest.raises(UsageError, match="other settings"):
        annotate_dataset(run_config(source, tmp_path / "second"), engine=FakeEngine(), stream=stream)


def test_reviews_of_another_input_are_refused(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(at) for at in range(3)])
    shards = _shards(source, tmp_path)
    for changes in ({"source_file": "other.parquet"}, {"source_row": 99}, {"record": "0" * 16 + "-0"}):
        given = {"record": "x", "phrase_index": 0, "source_file": shards[0].file, "source_row": 0} | changes
        root = tmp_path / str(next(iter(changes)))
        add_reviews(Storage(str(root)), "run", [edit("edited", **given)], "newest")
        with pytest.raises(ValueError, match="holds no decided record of this input"):
            read_decided([str(root)], {}, shards)
    with pytest.raises(ValueError, match=r"there is no edits.parquet"):
        read_decided([str(tmp_path)], {}, shards)
