"""Users of the service, as Locust runs them; each asks the next question as soon as it has the answer to its last one.

A process of its own, since Locust replaces Python's sockets: `python -m benchmarks.serve_users PLAN.json RESULT.json`.
Every answer is held against the mask that is known. What goes wrong is counted by its kind and asked again.
"""

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

import gevent
from locust import FastHttpUser, constant, task
from locust.env import Environment
from pycocotools import mask as coco_mask

MIN_IOU = 0.99  # below, an answer is wrong: batches round differently, by a pixel at a mask's edge
_PAUSE_S, _PATIENCE_S = 0.1, 120.0


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
        self.wrong = self.lost = self.retried = 0
        self.min_iou = 1.0

    def next(self) -> tuple[bytes, dict[str, Any], str, bool] | None:
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
        return json.dumps(asked).encode(), one["truth"][phrase], one["phrases"][phrase], phrase == 0

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
        self.answers.append((time.time() - self.started, seconds, told["cached_image"], first))


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Let users ask until the plan is done."""
    exam = Exam(plan)

    class Asker(FastHttpUser):
        wait_time = constant(0)
        host = plan["url"]

        @task
        def ask(self) -> None:
            question = exam.next()
            if question is None:
                gevent.sleep(1)
                return
            body, truth, phrase, first = question
            started, ends = time.perf_counter(), time.time() + _PATIENCE_S
            while time.time() < ends:
                tried = time.perf_counter()
                with self.client.post(
                    "/v1/annotate", data=body, headers={"Content-Type": "application/json"}, catch_response=True
                ) as answer:
                    answer.success()
                    if answer.status_code == 200:
                        exam.mark(answer.json(), truth, phrase, time.perf_counter() - started, first=first)
                        return
                    exam.errors[_kind(answer)] += 1
                exam.retried += 1
                gevent.sleep(_PAUSE_S if time.perf_counter() - tried < 1 else 0)
            exam.lost += 1

    environment = Environment(user_classes=[Asker])
    runner = environment.create_local_runner()
    runner.start(plan["users"], spawn_rate=1000)
    _wait(exam, plan)
    runner.quit()
    return {
        "answers": exam.answers,
        "errors": dict(exam.errors),
        "wrong": exam.wrong,
        "lost": exam.lost,
        "retried": exam.retried,
        "min_iou": exam.min_iou,
        "started": exam.started,
    }


def _wait(exam: Exam, plan: dict[str, Any]) -> None:
    while time.time() - exam.started < plan.get("seconds", sys.maxsize):
        gevent.sleep(0.1)
        if len(exam.answers) + exam.lost >= plan.get("requests", sys.maxsize):
            return
    gevent.sleep(0.5)  # for the last answers


def _kind(answer: Any) -> str:
    if not answer.status_code:
        return f"connection: {type(answer.error).__name__}"
    try:
        return f"{answer.status_code} {answer.json()['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))
