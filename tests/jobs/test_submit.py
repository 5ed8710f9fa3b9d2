"""The job as it runs in production: `ray job submit` to a running head, the project shipped as working directory."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.pipeline.samples import read_coco, read_records, row, write_table

BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Head:
    """A Ray head on this machine, with token authentication."""

    dashboard: str
    token: str
    environment: dict[str, str]

    def submit(self, *entrypoint: str) -> tuple[int, str]:
        """Submit from the project's root, follow it to its end. Returns the exit code and what was printed."""
        command = [BIN / "ray", "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--", *entrypoint]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=500, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def try_job(self) -> None:
        """Submit a job that does nothing. Raises OSError while the head cannot take any."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = json.dumps({"entrypoint": "true"}).encode()
        request = urllib.request.Request(f"{self.dashboard}/api/jobs/", data=content, headers=headers, method="POST")
        urllib.request.urlopen(request, timeout=60).close()

    def jobs(self) -> list[dict[str, Any]]:
        """What the head knows about the jobs submitted to it, oldest first."""
        request = urllib.request.Request(
            f"{self.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = json.load(answer)
        return sorted((job for job in found if job["type"] == "SUBMISSION"), key=lambda job: job["start_time"])


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    token = secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    names = (
        "port",
        "dashboard-port",
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "metrics-export-port",
    )
    names += ("runtime-env-agent-port", "ray-client-server-port", "node-manager-port", "object-manager-port")  # type: ignore[assignment]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    directory = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: sockets below it have a limit of 107 characters
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=4", f"--temp-dir={directory}"]
    command += ["--node-ip-address=127.0.0.1", *(f"--{name}={port}" for name, port in ports.items())]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    head = Head(dashboard=f"http://127.0.0.1:{ports['dashboard-port']}", token=token, environment=environment)
    try:
        wait_for(head, process)
        yield head
    finally:
        for member in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)


def wait_for(head: Head, process: subprocess.Popen[Any], *, timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended while it started"
        try:
            head.try_job()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the head did not answer")


def test_a_submitted_job_annotates_and_reports_its_exit_code(head: Head, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number, "the red box", "a dog") for number in range(6)])
    output = tmp_path / "out"
    model = ["--model", "demo", "--num-retain-tokens", "48"]
    job = ["python", "jobs/annotate.py", "--input", source, "--output", str(output), *model, "--shard-images", "3"]
    code, printed = head.submit(*job)
    assert code == 0, printed
    assert "done: 12 records of 6 images" in printed
    assert [record["num_retained_tokens"] for record in read_records(output)] == [48] * 12
    assert len(read_coco(output)["images"]) == 6
    assert (output / "_SUCCESS").exists()
    info = head.jobs()[-1]
    assert (info["status"], info["driver_exit_code"]) == ("SUCCEEDED", 0)

    code, printed = head.submit(*job, "--num-retain-tokens", "0")
    assert code == 1
    assert "error: --num-retain-tokens is 0" in printed
    assert head.jobs()[-1]["driver_exit_code"] == 2
