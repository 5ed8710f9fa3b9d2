"""Steps one after the other, each in its own guard and none beyond the deadline; results are written after each.

A step says what it found through `Findings`, in plain values. What was found until a run ends is on disk.
"""

from __future__ import annotations

import gc
import json
import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.contest import Records
from benchmarks.full_size import Contest, Size, random_annotator, size_of
from benchmarks.gpu.report import as_markdown
from benchmarks.hardware import describe
from benchmarks.peaks import MatrixPeak, matrix_peak
from benchmarks.timing import wait_for
from litelvlm.models.description import ModelDescription
from litelvlm.models.glamm import GLAMM

_TRACEBACK_LINES = 12
_SMALL_SHARE = 0.01  # of the least seconds of a step at full size
DONE, FAILED, SKIPPED, STOPPED, NOT_RUN, RUNNING = "done", "failed", "skipped", "stopped", "not run", "running"


class Skipped(Exception):
    """A step that cannot run here, with the reason."""


class OutOfTime(Exception):
    """What comes next would not end before the deadline."""


@dataclass(kw_only=True)
class Findings:
    """What a step has found so far.

    Attributes:
        title: of the step; status and reason: how it ended; seconds: how long it took.
        facts: single values by name; tables: rows by the table's title; notes: sentences.
    """

    title: str
    status: str = RUNNING
    reason: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, to be added to."""
        return self.tables.setdefault(table, [])


@dataclass(frozen=True, kw_only=True)
class Step:
    """A measurement.

    Attributes:
        name: for `--only`; title: for people.
        run: finds something out; raises `Skipped` or `OutOfTime`.
        seconds: what it takes on one large GPU at full size, at least.
    """

    name: str
    title: str
    run: Callable[[Session, Findings], None]
    seconds: float


class Session:
    """One run of the steps.

    Args:
        size: "full" or "small".
        device: where to measure.
        output: directory of `results.json` and `results.md`.
        seconds: until the deadline, from now on.
        clock: monotonic seconds.
        model: which one, of GLaMM's build.
    """

    def __init__(
        self,
        size: str,
        device: torch.device,
        output: Path,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        model: ModelDescription = GLAMM,
    ) -> None:
        self.size: Size = size_of(size, model)
        self.device, self.output = device, output
        self.dtype = "bfloat16" if device.type == "cuda" else "float32"
        self.findings: dict[str, Findings] = {}
        self._clock, self._started, self._limit_s = clock, clock(), seconds
        self._head: dict[str, Any] = {"hardware": describe(), "model": model.title, "size": size}
        self._head |= {"dtype": self.dtype, "seconds": seconds}
        self._open, self._share = ExitStack(), 1.0 if size == "full" else _SMALL_SHARE

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return self._limit_s - (self._clock() - self._started)

    def require(self, seconds: float) -> None:
        """Raises OutOfTime unless so much time is left."""
        if seconds > self.seconds_left:
            raise OutOfTime(
                f"deadline: about {seconds:.0f} s more are needed, {max(0, self.seconds_left):.0f} s are left"
            )

    @cached_property
    def contest(self) -> Contest:
        """The model of this size and its records; made when first asked for, once."""
        annotator = self._open.enter_context(random_annotator(self.size, self.device, self.dtype))
        return Contest(annotator=annotator, size=self.size)

    @cached_property
    def peak(self) -> MatrixPeak:
        """Of matrix products, measured once."""
        return matrix_peak(self.device)

    def records(self, num_phrases: int, number: int) -> Records:
        """See `Contest.records`."""
        return self.contest.records(num_phrases, number)

    def run(self, steps: Sequence[Step]) -> bool:
        """Runs the steps in their order. Returns whether none of them failed."""
        with self._open:
            for step in steps:
                self._run_step(step)
        return all(found.status != FAILED for found in self.findings.values())

    def write(self) -> None:
        """Both result files, each of them replaced as a whole."""
        content = self._head | {"steps": {name: vars(found) for name, found in self.findings.items()}}
        self.output.mkdir(parents=True, exist_ok=True)
        _replace(self.output / "results.json", json.dumps(content, indent=1, default=str) + "\n")
        _replace(self.output / "results.md", as_markdown(content))

    def _run_step(self, step: Step) -> None:
        found = self.findings[step.name] = Findings(title=step.title)
        started = self._clock()
        print(f"== {step.name}: {step.title}; {self.seconds_left:.0f} s left", flush=True)
        try:
            self.require(step.seconds * self._share)
            self.write()
            step.run(self, found)
            found.status = DONE
        except OutOfTime as reason:
            found.status = STOPPED if found.tables or found.facts else NOT_RUN
            found.reason = str(reason)
        except Skipped as reason:
            found.status, found.reason = SKIPPED, str(reason)
        except Exception:  # noqa: BLE001 - whatever fails here, the steps behind it are worth their time
            found.status = FAILED
            found.reason = "\n".join(traceback.format_exc().splitlines()[-_TRACEBACK_LINES:])
        found.seconds = round(self._clock() - started, 1)
        print(f"== {step.name}: {found.status} after {found.seconds} s. {found.reason}", flush=True)
        self.write()
        self._tidy()

    def _tidy(self) -> None:
        """Gives memory back; what a step broke on the device is the next step's failure, not the run's."""
        gc.collect()
        if self.device.type == "cuda":
            try:
                wait_for(self.device)
                torch.cuda.empty_cache()
            except RuntimeError as error:
                print(f"the device reports: {str(error).splitlines()[0]}", flush=True)


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
