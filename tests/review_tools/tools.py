"""Programs of reviewers on this machine, each in an environment of its own: their pins are not ours."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.object_store import free_port, server_process

TOKEN = "0123456789abcdef0123456789abcdef01234567"
USER, PASSWORD = "reviewer@example.com", "a password"


def program(tool: str, name: str) -> str:
    """A program of a tool, where `make review-tools` installs it or `REVIEW_TOOLS_HOME` says; the test is skipped
    without it."""
    home = Path(os.environ.get("REVIEW_TOOLS_HOME") or Path.home() / ".cache/litelvlm/review-tools")
    path = home / tool / "bin" / name
    if not path.exists():
        pytest.skip(f"{tool} is not installed: make review-tools")
    return str(path)


@contextmanager
def label_studio() -> Iterator[str]:
    """The URL of a Label Studio with an empty SQLite database, which takes `TOKEN` for its one user."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        user = ["--username", USER, "--password", PASSWORD, "--user-token", TOKEN]
        where = ["--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
        environment = {
            "LABEL_STUDIO_BASE_DATA_DIR": folder,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "ML_BLOCK_LOCAL_IP": "false",  # models and webhooks are on this machine
            "SSRF_PROTECTION_ENABLED": "false",
            "WEBHOOK_TIMEOUT": "30",
        }
        command = [program("label-studio", "label-studio"), "start", *where, *user]
        with server_process(command, f"http://127.0.0.1:{port}/health", environment, timeout_s=600) as url:
            yield url.removesuffix("/health")


@dataclass(frozen=True)
class FiftyOneProgram:
    """FiftyOne with a database of its own in a folder."""

    folder: Path

    def run(self, script: str, *arguments: str) -> str:
        """What a script prints that runs in FiftyOne's environment."""
        environment = os.environ | {
            "FIFTYONE_DATABASE_DIR": str(self.folder / "database"),
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "FIFTYONE_DO_NOT_TRACK": "1",
        }
        command = [program("fiftyone", "python"), "-c", script, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout
