"""The service as a process that is measured, killed in part, and tried with clients that mean no good."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serve_questions import SETTINGS

ROOT = Path(__file__).resolve().parents[1]
MODEL, HTTP = "ServeReplica:litelvlm:model", "ServeReplica:litelvlm:http"
UPLOAD_TIMEOUT_S = 3.0
_START_WAIT_S = 180.0


class ServiceProcess:
    """`jobs/serve.py`, running.

    Attributes:
        port: that it listens at.
        ready_s: seconds from its start to the first `/ready`.
    """

    def __init__(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
        command = [sys.executable, "jobs/serve.py", f"--port={self.port}", f"--upload-timeout={UPLOAD_TIMEOUT_S}"]
        started = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        self.process = subprocess.Popen([*command, *flags], cwd=ROOT, env=environment)
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() - started > _START_WAIT_S:
                raise RuntimeError("the service did not start")
            time.sleep(0.05)
        self.ready_s = time.monotonic() - started

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self, name: str) -> bool:
        """SIGKILL to the process of a part; returns whether there was one."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if name in "".join(child.cmdline()):
                    child.kill()
                    return True
        return False

    def memory_mb(self) -> float:
        """What all its processes hold for themselves."""
        total = 0
        process = psutil.Process(self.process.pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().uss
        return total / 2**20

    def close(self) -> float:
        """SIGTERM; returns the seconds until it is gone."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        return time.monotonic() - started


class Killer(threading.Thread):
    """Kills a part again and again until it is told to stop, each time so many seconds after the service was ready.

    Attributes:
        times: of the kills, in seconds since the epoch.
    """

    def __init__(self, service: ServiceProcess, every_s: float, name: str) -> None:
        super().__init__(daemon=True)
        self._service, self._every_s, self._name = service, every_s, name
        self._stop_asking = threading.Event()
        self.times: list[float] = []

    def run(self) -> None:
        while not self._stop_asking.wait(self._every_s):
            if self._service.is_ready() and self._service.kill(self._name):
                self.times.append(time.time())
                while not self._service.is_ready() and not self._stop_asking.wait(0.2):
                    pass

    def stop(self) -> None:
        """No more kills."""
        self._stop_asking.set()
        self.join()


@contextlib.contextmanager
def idle_connections(port: int, count: int) -> Iterator[int]:
    """Connections that say nothing. Yields how many stand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 200)), hard))
    found = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]
    try:
        yield sum(not _is_closed(one) for one in found)
    finally:
        for one in found:
            one.close()


def slow_upload(port: int) -> dict[str, Any]:
    """A body that comes byte by byte: the status, and the seconds until it."""
    started = time.monotonic()
    head = b"POST /v1/annotate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head)
        connection.settimeout(0.2)
        status = 0
        while not status and time.monotonic() - started < 30:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
                status = int(answer.split()[1]) if answer else -1
    return {"status": status, "seconds": round(time.monotonic() - started, 2)}


def huge_body(port: int, *, told: bool) -> dict[str, Any]:
    """A body of 1 GiB whose length is told or not: the status, and the megabytes sent until it came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/v1/annotate")
    connection.putheader("Content-Type", "application/json")
    connection.putheader(*(("Content-Length", str(1 << 30)) if told else ("Transfer-Encoding", "chunked")))
    connection.endheaders()
    part, sent = b" " * (1 << 20), 0
    with contextlib.suppress(OSError):
        while sent < 1 << 30:
            connection.send(part if told else b"100000\r\n" + part + b"\r\n")
            sent += len(part)
            if _is_readable(connection.sock):
                break
    try:
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    connection.close()
    return {"status": status, "sent_mb": sent >> 20}


def _is_readable(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(60)


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
