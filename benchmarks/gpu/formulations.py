"""The races between formulations of the same function that the engine runs on a device, run again and told."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.gpu.session import Findings, Session, Skipped

_SECONDS = {"sam": 30.0, "llama": 10.0, "clip": 5.0}  # of each part, which may have to be compiled again


def run(session: Session, found: Findings) -> None:
    """A row for each candidate of each part: milliseconds on the race's own inputs, error, whether it is taken."""
    try:
        module: Any = importlib.import_module("litelvlm.engine.race")
    except ModuleNotFoundError:
        raise Skipped("no formulations in this version") from None
    if session.device.type != "cuda":
        raise Skipped("formulations are raced on a CUDA device alone")
    annotator: Any = session.contest.annotator
    found.facts["chosen at load"] = str(annotator.formulation)
    for part, seconds in _SECONDS.items():
        if not hasattr(module, f"race_{part}"):
            continue  # an older engine
        session.require(seconds)
        raced = getattr(module, f"race_{part}")(annotator.model)
        found.rows("candidates").extend(as_rows(part, raced))
        session.write()


def as_rows(part: str, raced: dict[str, Any]) -> list[dict[str, Any]]:
    """Of what a race has found: `candidates` by name, and which of them is the `fastest` that is exact."""
    return [
        {"part": part, "formulation": name, **figures, "taken": name == raced["fastest"]}
        for name, figures in raced["candidates"].items()
    ]
