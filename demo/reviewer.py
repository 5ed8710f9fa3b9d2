"""A reviewer of the demo who knows the drawn truth: does with Label Studio's tasks what a person would do.

python -m demo.reviewer --tasks demo/output/tasks/tasks.json --output demo/output/project.json

Masks that overlap the truth by --target-iou or more are left as they are, others are redrawn, or deleted where they are
of something else. What comes out is what Label Studio exports.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.review.readers.brush import decode_brush, encode_brush

_INSIDE = 128  # of an alpha channel, from which on a pixel belongs to a mask
_OTHER = 0.1  # IoU below which a mask is of something else
_SECONDS = 6.0  # that a person takes for a mask
_EPOCH = "2026-01-05T09:{minute:02}:{second:02}Z"


def main(arguments: list[str] | None = None) -> int:
    """Reviews all tasks; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=Path("demo/output/scenes.parquet"), help="with their truth")
    parser.add_argument("--tasks", type=Path, default=Path("demo/output/tasks/tasks.json"), help="for Label Studio")
    parser.add_argument("--target-iou", type=float, default=0.8, help="below it a mask is mended")
    parser.add_argument("--output", type=Path, default=Path("demo/output/project.json"))
    options = parser.parse_args(arguments)
    truth = {
        (row["image_id"], phrase): counts
        for row in pq.read_table(options.scenes, columns=["image_id", "phrases", "truth_rle"]).to_pylist()
        for phrase, counts in zip(row["phrases"], row["truth_rle"], strict=True)
    }
    tasks = json.loads(options.tasks.read_text())
    done = [reviewed(task, number, truth, options.target_iou) for number, task in enumerate(tasks)]
    options.output.write_text(json.dumps(done))
    print(f"{options.output}: {len(done)} tasks reviewed")
    return 0


def reviewed(task: dict[str, Any], number: int, truth: dict[tuple[str, str], str], target_iou: float) -> dict[str, Any]:
    """A task with the annotation of the reviewer, as Label Studio exports it."""
    results = task["predictions"][0]["result"]
    shown = {one["id"] for one in results if one["type"] == "brushlabels"}
    kept = []
    for one in results:
        if one["type"] == "brushlabels":
            mended = _mended(one, task["data"]["image_id"], truth, target_iou)
            if mended is None:
                shown.discard(one["id"])
            else:
                kept.append(mended)
        else:
            kept.append(one)
    annotation = {
        "id": number,
        "completed_by": {"id": 1, "email": "reviewer@example.com"},
        "was_cancelled": False,
        "lead_time": _SECONDS * len([one for one in results if one["type"] == "brushlabels"]),
        "created_at": _EPOCH.format(minute=number // 60 % 60, second=number % 60),
        "result": [one for one in kept if one.get("id") in shown or one["type"] == "brushlabels"],
    }
    return {"id": number + 1, "data": task["data"], "annotations": [annotation], "predictions": [number + 1]}


def _mended(
    region: dict[str, Any], image_id: str, truth: dict[tuple[str, str], str], target_iou: float
) -> dict[str, Any] | None:
    size_hw = region["original_height"], region["original_width"]
    (phrase,) = region["value"]["brushlabels"]
    right = decode_mask(EncodedMask(size_hw=size_hw, counts=truth[image_id, phrase], area=0, bbox_xywh=(0, 0, 0, 0)))
    mask = decode_brush(region["value"]["rle"], size_hw) >= _INSIDE
    overlap = float((mask & right).sum()) / max(1.0, float((mask | right).sum()))
    if overlap >= target_iou:
        return region
    if overlap < _OTHER:
        return None
    return region | {"origin": "prediction-changed", "value": region["value"] | {"rle": encode_brush(right)}}


if __name__ == "__main__":
    sys.exit(main())
