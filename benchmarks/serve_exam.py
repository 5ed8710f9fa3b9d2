"""Questions to the service in their order, and its answers held against the masks that are known."""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

MIN_IOU = 0.99  # below, an answer is wrong: batches round differently, by a pixel at a mask's edge


class Exam:
    """What is asked, and what came of it.

    Args:
        plan: `questions` (a file), `order` (`phrases`: image by image, all its phrases; `images`: another image each
            time), `fresh` (whether images differ in their bytes each time), and `seconds` or `requests`.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        found = json.loads(Path(plan["questions"]).read_text())
        pairs = [(at, phrase) for at, one in enumerate(found) for phrase in range(len(one["phrases"]))]
        if plan["order"] == "images":
            pairs.sort(key=lambda pair: pair[1])
        self.questions, self._pairs, self._number = found, pairs, itertools.count()
        self.started = time.time()
        self.answers: list[
            tuple[float, float, bool, bool]
        ] = []  # when, seconds, whether the image was known, first phrase
        self.errors: Counter[str] = Counter()
        self.wrong = self.unequal = self.lost = self.retried = 0
        self.min_iou = 1.0

    def next(self) -> tuple[str, dict[str, Any], str, bool] | None:
        """Body, truth and phrase of the next question, and whether it is its image's first; None when all is asked."""
        number = next(self._number)
        if number >= self.plan.get("requests", sys.maxsize):
            return None
        if time.time() - self.started > self.plan.get("seconds", sys.maxsize):
            return None
        at, phrase = self._pairs[number % len(self._pairs)]
        one = self.questions[at]
        tail = base64.b64encode(os.urandom(12)).decode() if self.plan["fresh"] else ""
        asked = {"image": {"bytes": one["image"] + tail}, "phrases": [one["phrases"][phrase]]}
        return json.dumps(asked), one["truth"][phrase], one["phrases"][phrase], phrase == 0

    def mark(self, told: dict[str, Any], truth: dict[str, Any], phrase: str, seconds: float, *, first: bool) -> None:
        """Note an answer."""
        mask = told["masks"][0]
        found = mask["rle"]
        iou = 0.0
        if (
            len(told["masks"]) == 1
            and mask["phrase"] == phrase
            and found is not None
            and found["size"] == truth["size"]
        ):
            iou = 1.0 if found == truth else float(coco_mask.iou([found], [truth], [0])[0, 0])
        self.min_iou = min(self.min_iou, iou)
        self.wrong += iou < MIN_IOU
        self.unequal += found != truth
        self.answers.append((time.time() - self.started, seconds, told["cached_image"], first))
