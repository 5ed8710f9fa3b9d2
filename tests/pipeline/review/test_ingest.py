"""Files of review tools become edits, one an item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import UsageError
from tests.pipeline.review.conftest import queue_of

Reviews = Callable[..., list[dict[str, Any]]]


def _reject_first(content: dict[str, Any]) -> None:
    del content["annotations"][0]


def _turn(content: dict[str, Any]) -> None:
    image = content["images"][1]
    image["width"], image["height"] = image["height"], image["width"]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != image["id"]]


def test_a_mask_that_nobody_touched_is_pixel_equal(reviewed: Reviews, coco: dict[str, Any]) -> None:
    edits = reviewed()
    assert Counter(one["verdict"] for one in edits) == {"unchanged": len(coco["annotations"])}
    masks = {one["attributes"]["record"]: one["segmentation"]["counts"] for one in coco["annotations"]}
    assert {one["record"]: one["mask_rle"] for one in edits} == masks


def test_a_rejection_is_kept_when_an_older_file_is_read_again(reviewed: Reviews, coco: dict[str, Any]) -> None:
    key = coco["annotations"][0]["attributes"]["record"]
    for _ in range(2):
        edits = {one["record"]: one["verdict"] for one in reviewed(_reject_first)}
        assert edits[key] == "rejected"
        assert Counter(edits.values()) == {"rejected": 1, "unchanged": len(coco["annotations"]) - 1}


@pytest.mark.slow
def test_items_of_the_queue_that_no_file_mentions_are_unseen(run: Path, reviewed: Reviews, tmp_path: Path) -> None:
    queue = queue_of(run, tmp_path / "q.parquet", budget=100)

    def keep_one(content: dict[str, Any]) -> None:
        content["images"] = content["images"][:1]
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] == 1]

    edits = reviewed(keep_one, queue=str(tmp_path / "q.parquet"))
    assert {one["record"] for one in edits} >= set(queue.items.column("record").to_pylist())
    assert Counter(one["verdict"] for one in edits)["unseen"] >= queue.items.num_rows - 3


def test_what_contradicts_the_run_is_refused_or_listed(reviewed: Reviews, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"given.json.*in the run; the tool may have ignored its EXIF") as caught:
        reviewed(_turn)
    assert "\n" not in str(caught.value)
    edits = reviewed(_turn, partial=True)
    assert edits
    problems = pq.ParquetFile(tmp_path / "reviewed/problems.parquet").read().to_pylist()
    assert len(problems) == 1
    assert "image-0001" in problems[0]["problem"]


def test_a_queue_of_another_run_is_refused(open_run: Path, reviewed: Reviews, tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    queue_of(open_run, path, budget=3)
    with pytest.raises(UsageError, match="was made for another run"):
        reviewed(queue=str(path))
