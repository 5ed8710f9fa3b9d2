"""Answers get the labels of their expressions; questions are told in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from litelvlm.config import PruningConfig
from litelvlm.evaluation.merge import _labelled, contrast_values
from litelvlm.evaluation.records import ANSWER_SCHEMA
from litelvlm.evaluation.report.contrasts import Contrast
from litelvlm.pipeline.shards.manifest import make_plan
from tests.evaluation.samples import evaluation_config, truth_row, write_rows
from tests.pipeline.samples import run_config, write_table


def _answers(*places: tuple[int, int]) -> pa.Table:
    """Answers to expressions, by source row and phrase."""
    given = {
        "combination": 0, "source_file": "f", "image_id": "i", "image_key": "k", "phrase": "p", "num_words": 1,
        "status": "scored",
    }  # fmt: skip
    rows = [given | {"source_row": row, "phrase_index": index} for row, index in places]
    return pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA)


def test_labels_come_from_the_shards_own_row_group(tmp_path: Path) -> None:
    rows = [truth_row(number, "a dog", "the red box") for number in range(6)]
    rows[5] |= {"sentence_ids": ["only one"], "kinds": [None, "box"]}
    source = write_rows(tmp_path / "in.parquet", rows, row_group_size=4)
    second = make_plan(evaluation_config(source, tmp_path / "out").run, revision="r").shards[-1]
    assert (second.row_group, second.row_group_start) == (1, 4)
    table = _labelled(_answers((4, 1), (4, 0), (5, 0), (5, 1)), second, {})
    assert table["sentence_id"].to_pylist() == ["4/1", "4/0", "only one", None]
    assert table["kind"].to_pylist() == ["box", "thing", None, "box"]
    assert table.schema == ANSWER_SCHEMA


@pytest.mark.parametrize("labels", [{}, {"kinds": "dog", "sentence_ids": 7}])
def test_columns_that_are_no_lists_are_no_labels(tmp_path: Path, labels: dict[str, Any]) -> None:
    row = {"image": b"x", "phrases": ["a dog"]} | labels
    source = write_table(tmp_path / "in.parquet", [row])
    [shard] = make_plan(run_config(source, tmp_path / "out"), revision="r").shards
    table = _labelled(_answers((0, 0)), shard, {})
    assert table["kind"].to_pylist() == table["sentence_id"].to_pylist() == [None]


def test_ids_that_are_numbers_are_told_as_text(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [{"image": b"x", "phrases": ["a"], "sentence_ids": [17]}])
    [shard] = make_plan(run_config(source, tmp_path / "out"), revision="r").shards
    assert _labelled(_answers((0, 0)), shard, {})["sentence_id"].to_pylist() == ["17"]


@pytest.mark.parametrize(
    ("first", "second", "compared"),
    [
        ({"rule": "paper"}, {"rule": "context"}, "paper − context"),
        ({"rule": "paper", "order": "raster"}, {"rule": "context", "order": "raster"}, "paper − context (raster)"),
        ({"order": "raster"}, {"order": "release"}, "trim: raster, compact − release, compact"),
        ({"positions": "original"}, {}, "trim: auto, original − auto, compact"),
    ],
)
def test_what_is_compared_is_told_with_what_differs(
    first: dict[str, Any], second: dict[str, Any], compared: str
) -> None:
    sides = [PruningConfig(**{"rule": "trim", "num_retain_tokens": 48} | side) for side in (first, second)]
    contrast = Contrast(question="?", first=sides[0], second=sides[1], difference=0.1, low=0.05, high=0.2)
    assert contrast_values(contrast, 144) == {
        "question": "?", "compared": compared, "num_retain_tokens": 48, "difference": 0.1, "low": 0.05, "high": 0.2,
        "answer": "yes",
    }  # fmt: skip
