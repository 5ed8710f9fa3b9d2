"""A real S3 server on this machine: moto's, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import s3fs

ACCESS_KEY = "AKIAEXAMPLEKEY"
SECRET_KEY = "example-secret-example-secret"


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """Where the server listens, who asks, and for how many seconds a client waits for bytes."""

    endpoint_url: str
    access_key: str = ACCESS_KEY
    read_timeout_s: float = 60.0

    @property
    def options(self) -> dict[str, Any]:
        """fsspec storage options that reach it."""
        return {
            "key": self.access_key,
            "secret": SECRET_KEY,
            "client_kwargs": {"endpoint_url": self.endpoint_url},
            "config_kwargs": {"read_timeout": self.read_timeout_s},
        }

    @property
    def flags(self) -> list[str]:
        """The same for a command line."""
        endpoint = f"client_kwargs.endpoint_url={self.endpoint_url}"
        return ["--storage-options", f"key={ACCESS_KEY}", f"secret={SECRET_KEY}", endpoint]

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        self.filesystem().mkdir(name)

    def refusal(self, status: int, code: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body with which such a store refuses a request, by status and code of S3."""
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
        return status, {"Content-Type": "application/xml"}, body.encode()

    def filesystem(self) -> s3fs.S3FileSystem:
        """A client that sees every change."""
        return s3fs.S3FileSystem(**self.options, use_listings_cache=False, skip_instance_cache=True)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Start the server, wait until it answers, stop it afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server_process(command, f"http://127.0.0.1:{port}") as url:
        yield ObjectStore(endpoint_url=url)


@contextmanager
def server_process(
    command: list[str], url: str, environment: Mapping[str, str] | None = None, *, timeout_s: float = 60.0
) -> Iterator[str]:
    """Run a server until the block ends; its URL, once it answers there."""
    process = subprocess.Popen(
        command, env=os.environ | (environment or {}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(url, process, timeout_s=timeout_s)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[Any], *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended while it started"
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return  # an answer, if only that this is not allowed
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the server did not answer")
