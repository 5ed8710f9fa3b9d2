"""The service with the shipped model on a short run of it, as somebody starts it for a Label Studio of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from litelvlm.demo.run import ROOT, write_scenes
from litelvlm.pipeline.review.push.label_studio import KEY
from litelvlm.pipeline.serving.client import Client
from litelvlm.pipeline.serving.config import TOKEN_VARIABLE
from tests.object_store import free_port
from tests.review_tools.tools import TOKEN

SERVICE_TOKEN = "only a test shows this"
_MODEL = ["--model", "demo", "--num-retain-tokens", "48", "--rule", "paper"]
_START_S, _END_S = 180, 60


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where it listens, the run that it knows, and where corrections go."""

    url: str
    run: Path
    reviewed: Path

    @property
    def client(self) -> Client:
        """The client of one file, with the token."""
        return Client(url=self.url, token=SERVICE_TOKEN)


@contextmanager
def served(folder: Path, *flags: str, run: bool = True) -> Iterator[Served]:
    """The service, ready; it ends with the block. With a `run` of two scenes it keeps corrections of that."""
    made = Served(url=f"http://127.0.0.1:{free_port()}", run=folder / "run", reviewed=folder / "reviewed")
    if run:
        write_scenes(folder / "scenes.parquet", 2)
        _job("annotate", "--input", str(folder / "scenes.parquet"), "--output", str(made.run), *_MODEL)
        flags = (*flags, "--run", str(made.run), "--reviewed", str(made.reviewed))
    command = [sys.executable, str(ROOT / "jobs/serve.py"), *_MODEL, "--port", made.url.rpartition(":")[2], *flags]
    environment = os.environ | {TOKEN_VARIABLE: SERVICE_TOKEN, KEY: TOKEN}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_until_ready(made.url, process)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=_END_S)


def _job(name: str, *flags: str) -> None:
    done = subprocess.run([sys.executable, str(ROOT / f"jobs/{name}.py"), *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends:
        assert process.poll() is None, "the service ended while it started"
        try:
            if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError("the service did not become ready")
