"""The service under load: `python -m benchmarks.serve --output benchmarks/results/serve.json`.

The service runs as `jobs/serve.py` with the shipped checkpoint on this machine, which its users share. Users are
Locust's: each asks one phrase, waits for the mask, and asks the next. Every mask is held against the one that the
engine gave to the same phrase alone. What is asked differs: images that the service has seen, whose embedding it holds,
or ones that it never saw; then the process with the model is killed while users ask, and the one that speaks HTTP.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import describe
from benchmarks.serve_picture import draw
from benchmarks.serve_process import (
    HTTP,
    MODEL,
    ROOT,
    UPLOAD_TIMEOUT_S,
    Killer,
    ServiceProcess,
    huge_body,
    idle_connections,
    slow_upload,
)
from benchmarks.serve_questions import SETTINGS, Author, Questions

SIZES = {"as drawn": None, "1024 wide": 1024, "1600 wide": 1600}
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    sizes: tuple[str, ...] = tuple(SIZES)
    users: tuple[int, ...] = (1, 8, 32)
    images: int
    seconds: float
    requests_with_kills: int
    kill_every_s: float
    requests_with_http_kills: int
    idle: int


FULL = Extent(
    images=40, seconds=12, requests_with_kills=10_000, kill_every_s=10, requests_with_http_kills=1_500, idle=1_000
)
QUICK = Extent(
    sizes=("as drawn",),
    users=(1, 8),
    images=2,
    seconds=0.5,
    requests_with_kills=40,
    kill_every_s=0.3,
    requests_with_http_kills=0,
    idle=50,
)


def main(argv: list[str] | None = None) -> int:
    """Measures and writes. Returns 1 where an answer was wrong or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks/results/serve.json", help="a picture lies beside it"
    )
    parser.add_argument("--quick", action="store_true", help="a little of everything, in seconds")
    options = parser.parse_args(argv)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(QUICK if options.quick else FULL, Path(folder))
    found = {"measured_on": describe(), "settings": SETTINGS, **found, "wall_s": round(time.monotonic() - started, 1)}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    draw(found, options.output.with_suffix(".png"))
    print(json.dumps({name: found[name] for name in ("ready_s", "second_phrase", "eight_users", "mistakes")}, indent=1))
    return 1 if any(found["mistakes"].values()) else 0


def measure(extent: Extent, folder: Path) -> dict[str, Any]:
    """All of it, against one service."""
    author = Author()
    sets = {name: author.questions(extent.images, width) for name, width in SIZES.items() if name in extent.sizes}
    known = author.questions(extent.images)
    service = ServiceProcess()
    try:
        bench = _Bench(service, folder)
        found: dict[str, Any] = {"ready_s": round(service.ready_s, 1), "memory_mb": round(service.memory_mb())}
        found["latency"] = {name: bench.latency(questions) for name, questions in sets.items()}
        found["throughput"] = {"known images": bench.throughput(known, extent, fresh=False)}
        found["throughput"]["new images"] = bench.throughput(known, extent, fresh=True)
        found["unfriendly"] = bench.unfriendly(known, extent)
        found["model_killed"] = bench.killed(known, extent.requests_with_kills, extent.kill_every_s, MODEL)
        if extent.requests_with_http_kills:
            found["http_killed"] = bench.killed(known, extent.requests_with_http_kills, extent.kill_every_s / 2, HTTP)
    finally:
        found_s = service.close()
    return found | {"ended_s": round(found_s, 1), **_targets(found), "mistakes": bench.mistakes}


class _Bench:
    """Plans for users, and what came of them."""

    def __init__(self, service: ServiceProcess, folder: Path) -> None:
        self._service, self._folder = service, folder
        self.mistakes = {"wrong": 0, "lost": 0}

    def latency(self, questions: Questions) -> dict[str, Any]:
        """One user, image by image: milliseconds of the first phrase and of the later ones."""
        self._ask(questions[:1], users=1, order="phrases", fresh=True, requests=4)
        told = self._ask(
            questions, users=1, order="phrases", fresh=False, requests=sum(len(one["phrases"]) for one in questions)
        )
        first, later = ([one[1] for one in told["answers"] if one[3] is is_first] for is_first in (True, False))
        return {
            "kilobytes": round(statistics.mean(one["bytes"] for one in questions) / 1000),
            "first_ms": percentiles(first),
            "later_ms": percentiles(later),
            "ratio": round(statistics.median(later) / statistics.median(first), 3),
        }

    def throughput(self, questions: Questions, extent: Extent, *, fresh: bool) -> dict[str, Any]:
        """Phrases a second and their latency, by the number of users."""
        if not fresh:
            self._ask(questions, users=1, order="images", fresh=False, requests=len(questions))
        found = {}
        for users in extent.users:
            told = self._ask(questions, users=users, order="images", fresh=fresh, seconds=extent.seconds)
            found[str(users)] = summary(told)
        return found

    def killed(self, questions: Questions, requests: int, every_s: float, name: str) -> dict[str, Any]:
        """Eight users, while a part is killed again and again."""
        killer = Killer(self._service, every_s, name)
        killer.start()
        told = self._ask(questions, users=8, order="images", fresh=False, requests=requests)
        killer.stop()
        kills = [at - told["started"] for at in killer.times]
        gaps = recovery_s(kills, [one[0] for one in told["answers"]])
        return {
            **summary(told),
            "kills": len(kills),
            "recovery_s": {"median": round(statistics.median(gaps), 2), "max": round(max(gaps), 2)} if gaps else None,
            "per_second": np.bincount([int(one[0]) for one in told["answers"]]).tolist(),
            "killed_at_s": [round(one, 1) for one in kills],
        }

    def unfriendly(self, questions: Questions, extent: Extent) -> dict[str, Any]:
        """Eight users beside clients that hold connections, trickle, or send without end."""
        port, slow = self._service.port, dict[str, Any]()
        thread = threading.Thread(target=lambda: slow.update(slow_upload(port)))
        with idle_connections(port, extent.idle) as standing:
            thread.start()
            told = self._ask(
                questions, users=8, order="images", fresh=False, seconds=max(UPLOAD_TIMEOUT_S, extent.seconds / 2)
            )
            thread.join()
        huge = {name: huge_body(port, told=name == "told") for name in ("told", "untold")}
        return {"idle_connections": standing, "slow_upload": slow, "huge_body": huge, **summary(told)}

    def _ask(self, questions: Questions, **plan: Any) -> dict[str, Any]:
        paths = [self._folder / name for name in ("questions.json", "plan.json", "result.json")]
        paths[0].write_text(json.dumps(questions))
        paths[1].write_text(json.dumps({"url": self._service.url, "questions": str(paths[0]), **plan}))
        command = [sys.executable, "-m", "benchmarks.serve_users", str(paths[1]), str(paths[2])]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        told: dict[str, Any] = json.loads(paths[2].read_text())
        for kind in self.mistakes:
            self.mistakes[kind] += told[kind]
        return told


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    found = np.percentile(np.array(seconds) * 1000, _PERCENTILES)
    return {f"p{name}": round(float(value), 1) for name, value in zip(_PERCENTILES, found, strict=True)}


def summary(told: dict[str, Any]) -> dict[str, Any]:
    """What users got."""
    answers = told["answers"]
    return {
        "requests": len(answers),
        "phrases_per_s": round(len(answers) / max(one[0] for one in answers), 1),
        "ms": percentiles([one[1] for one in answers]),
        "share_of_known_images": round(statistics.mean(one[2] for one in answers), 3),
        **{name: told[name] for name in ("errors", "retried", "wrong", "unequal", "lost")},
        "min_iou": round(told["min_iou"], 5),
    }


def recovery_s(kills: list[float], answers: list[float]) -> list[float]:
    """Of each kill, the longest time without an answer until the next kill."""
    found = []
    for at, until in itertools.pairwise([*kills, float("inf")]):
        times = [at, *sorted(one for one in answers if at < one < until)]
        found.append(max(np.diff(times), default=0.0))
    return [float(one) for one in found if one > 0]


def _targets(found: dict[str, Any]) -> dict[str, Any]:
    """What the service is meant to reach."""
    rates = {
        name: {users: one["phrases_per_s"] for users, one in told.items()} for name, told in found["throughput"].items()
    }
    return {
        "second_phrase": {name: one["ratio"] for name, one in found["latency"].items()},
        "eight_users": {name: round(one["8"] / one["1"], 2) for name, one in rates.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
