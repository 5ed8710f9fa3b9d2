"""A queue of a run, as a file and as a page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.review.queue import looking_order
from litelvlm.pipeline.review.queue_table import QUEUE_SCHEMA
from tests.pipeline.review.conftest import queue_of
from tests.pipeline.review.test_second_opinion import write_comparison
from tests.pipeline.samples import read_records


@pytest.mark.slow
def test_its_items_are_records_of_the_run(run: Path, tmp_path: Path) -> None:
    queue = queue_of(run, tmp_path / "q.parquet", strata="phrase", random_share=0.5)
    items = queue.items.to_pylist()
    by_key = {one["record"]: one for one in read_records(run)}
    assert queue.items.schema.equals(QUEUE_SCHEMA)
    assert [one["position"] for one in items] == list(range(20))
    for one in items:
        record = by_key[one["record"]]
        for name in ("image_id", "phrase", "phrase_index", "status", "file_name", "source_row"):
            assert one[name] == record[name]
    assert {one["part"] for one in items} == {"random", "targeted"}
    assert queue.facts.num_answers == sum(one["height"] is not None for one in by_key.values())
    assert sum(queue.facts.strata_sizes.values()) <= queue.facts.num_answers


def test_an_unfinished_run_has_one_too(open_run: Path, tmp_path: Path) -> None:
    assert queue_of(open_run, tmp_path / "q.parquet", budget=5).items.num_rows == 5


def test_it_is_the_same_every_time(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        queue_of(run, tmp_path / f"{name}.parquet")
    for ending in ("parquet", "html"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_what_another_run_sees_otherwise_comes_first(run: Path, tmp_path: Path) -> None:
    records = [one for one in read_records(run) if one["height"] is not None]
    by_score = sorted((one for one in records if one["score"] is not None), key=lambda one: -one["score"])
    iou = {by_score[0]["record"]: 0.1, by_score[1]["record"]: 0.6}
    answers = {one["record"]: (iou.get(one["record"], 0.95), one["record"] not in iou) for one in records[1:]}
    claim = json.loads((run / "config.json").read_text())
    other = write_comparison(tmp_path / "c", "another", claim["fingerprint"], answers | {"elsewhere": (0.0, False)})
    queue = queue_of(run, tmp_path / "q.parquet", compare=other, random_share=0.0, budget=6)
    items = {one["record"]: one for one in queue.items.to_pylist()}
    ranked = sorted(items, key=lambda key: -items[key]["risk"])
    assert ranked[:2] == list(iou)
    assert [items[key]["risk"] for key in iou] == pytest.approx([0.95, 0.7])
    assert all(items[key]["risk"] <= 0.5 for key in ranked[2:])
    assert {key: one["other_iou"] for key, one in items.items()} == pytest.approx(
        {key: answers[key][0] if key in answers else None for key in items}
    )
    assert queue.facts.compared_with == "another"
    assert "IoU 0.100 with the other run" in (tmp_path / "q.html").read_text()


@pytest.mark.slow
def test_the_random_part_is_the_same_beside_another_run(run: Path, tmp_path: Path) -> None:
    claim = json.loads((run / "config.json").read_text())
    answers = {one["record"]: (0.0, False) for one in read_records(run)[::2]}
    other = write_comparison(tmp_path / "c", claim["fingerprint"], "another", answers)
    drawn = [
        {
            (one["record"], one["inclusion_probability"])
            for one in queue_of(run, tmp_path / "q.parquet", **settings).items.to_pylist()
            if one["part"] == "random"
        }
        for settings in ({}, {"compare": other})
    ]
    assert drawn[0] == drawn[1] != set()


def test_a_comparison_of_other_runs_is_refused(run: Path, tmp_path: Path) -> None:
    other = write_comparison(tmp_path / "c", "one", "another", {"x": (0.0, False)})
    with pytest.raises(UsageError, match="compares other runs"):
        queue_of(run, tmp_path / "q.parquet", compare=other)


def test_items_of_an_image_follow_each_other_random_ones_first_and_images_that_look_alike() -> None:
    images, is_random = ["b", "a", "c", "b", "a"], np.array([True, True, False, False, False])
    assert looking_order(images, [None] * 5, is_random) == [0, 3, 1, 4, 2]
    assert looking_order(images, ["x", "y", "x", "x", "y"], is_random) == [0, 3, 2, 1, 4]


@pytest.mark.parametrize(
    ("settings", "line"),
    [({"where": "score > 2"}, "no record to look at for which --where holds"), ({"where": "nosuch"}, "--where: ")],
)
def test_what_leaves_nothing_is_refused(run: Path, tmp_path: Path, settings: dict[str, str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        queue_of(run, tmp_path / "q.parquet", **settings)
    assert not list(tmp_path.iterdir())
