"""What Label Studio shows wrongly is refused before: its import answers 201 to all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from litelvlm.pipeline.review.formats.label_studio_tasks import BITMASK, BRUSH, IMAGE, PHRASE
from litelvlm.pipeline.review.readers.brush import decode_brush

_TYPES = {BRUSH: "brushlabels", BITMASK: "bitmasklabels", PHRASE: "textarea"}


def check_task(task: Mapping[str, Any]) -> None:
    """Raises ValueError naming image and region where a task does not agree with itself: labels that its image has
    not, controls that the labelling config has not, scores outside [0, 1], other sizes, ids twice."""
    data, where = task["data"], f"task of {task['data']['file_name']!r}"
    labels = {one["value"] for one in data["labels"]}
    choices = [one["value"] for one in data["asked"]]
    if len(set(choices)) != len(choices) or set(choices) != set(data["record_of"]):
        raise ValueError(f"{where}: its choices are not those of its records, each once")
    if len(set(data["records"])) != len(data["records"]):
        raise ValueError(f"{where}: a record stands there twice")
    for prediction in task["predictions"]:
        _check_score(prediction["score"], where)
        masks = [one["id"] for one in prediction["result"] if one["from_name"] != PHRASE]
        if len(set(masks)) != len(masks):
            raise ValueError(f"{where}: two regions have the same id")
        for one in prediction["result"]:
            _check_result(one, data, labels, f"{where}, region {one.get('id')!r}")


def _check_result(one: Mapping[str, Any], data: Mapping[str, Any], labels: set[str], where: str) -> None:
    if _TYPES.get(one["from_name"]) != one["type"] or one["to_name"] != IMAGE:
        raise ValueError(f"{where}: its control is not in the labelling config")
    if one["id"] not in data["records"]:
        raise ValueError(f"{where}: its id is no record of the image")
    size = data["height"], data["width"]
    if (one["original_height"], one["original_width"]) != size or one["image_rotation"]:
        raise ValueError(f"{where}: its image has another size than {size[0]}x{size[1]}, or is turned")
    if one["type"] == "textarea":
        return
    _check_score(one["score"], where)
    value = one["value"]
    if not value[one["type"]] or not set(value[one["type"]]) <= labels:
        raise ValueError(f"{where}: its label is none of its image's")
    if one["type"] == "brushlabels":
        _check_brush(value["rle"], size, where)


def _check_brush(rle: Any, size: tuple[int, int], where: str) -> None:
    try:
        is_empty = not decode_brush(rle, size).any()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if is_empty:
        raise ValueError(f"{where}: its mask is empty")


def _check_score(score: Any, where: str) -> None:
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score) or not 0 <= score <= 1:
        raise ValueError(f"{where}: its score must be a number in [0, 1], got {json.dumps(score)[:50]}")
