"""The races between formulations of the same function that the engine runs on a device."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.gpu.session import Findings, Session, Skipped


def run(session: Session, found: Findings) -> None:
    """What the engine has raced and chosen."""
    try:
        importlib.import_module("litelvlm.engine.race")
    except ModuleNotFoundError:
        raise Skipped("no formulations in this version") from None
    raced: Any = getattr(session.contest.annotator, "race", None)
    if raced is None:
        raise Skipped("the engine tells nothing of its races")
    found.rows("races").extend(raced)
