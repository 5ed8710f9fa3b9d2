"""Users of the service, as Locust runs them; each asks the next question as soon as it has the answer to its last one.

A process of its own, since Locust replaces Python's sockets: `python -m benchmarks.serve_users PLAN.json RESULT.json`.
What goes wrong is counted by its kind and asked again.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, constant, task
from locust.env import Environment

from benchmarks.serve_exam import Exam

_PAUSE_S, _PATIENCE_S = 0.1, 120.0


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
        "unequal": exam.unequal,
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
