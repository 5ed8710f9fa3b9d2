"""A real S3 server on this machine: moto's, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
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

    def filesystem(self) -> s3fs.S3FileSystem:
        """A client that sees every change."""
        return s3fs.S3FileSystem(**self.options, use_listings_cache=False, skip_instance_cache=True)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Start the server, wait until it answers, stop it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        store = ObjectStore(endpoint_url=f"http://127.0.0.1:{port}")
        _wait_for(store.endpoint_url, process)
        yield store
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[Any], *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the S3 server ended while it started"
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the S3 server did not answer")
