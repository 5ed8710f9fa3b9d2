"""Lines go from one process to another, and nobody waits for whoever reads them."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from litelvlm.pipeline.serving.log_lines import LineHandler, log_lines

_OTHER = """
import logging, sys
from litelvlm.pipeline.serving.log_lines import LineHandler
log = logging.getLogger("other")
log.addHandler(LineHandler(sys.argv[1]))
log.warning("%s of another process", "a line")
"""


def test_lines_of_another_process_are_shown() -> None:
    shown: list[str] = []
    with log_lines(shown.append) as path:
        subprocess.run([sys.executable, "-c", _OTHER, path], check=True)
    assert shown == ["a line of another process"]
    assert not Path(path).parent.exists()


def test_nobody_waits_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(line: str) -> None:
        raise BrokenPipeError

    with log_lines(gone) as path:
        handler = LineHandler(path)
        log = logging.Logger("here")
        log.addHandler(handler)
        for _ in range(10_000):
            log.info("x" * 1_000)
    log.info("after the end")
    handler.close()
