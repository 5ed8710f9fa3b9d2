"""Settings that do not fit are told before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.serving.config import TOKEN_VARIABLE, ServeConfig
from litelvlm.pipeline.serving.run import check
from tests.pipeline.serving.doubles import free_port


def test_good_settings_pass_with_their_remarks() -> None:
    said: list[str] = []
    check(ServeConfig(port=free_port()), said.append)
    assert any("demo" in one for one in said)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: Address already in use"):
            check(ServeConfig(port=port), lambda line: None)


def test_mistakes_are_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    for settings, told in (
        ({"host": "0.0.0.0"}, "token"),
        ({"model": str(tmp_path)}, "."),
        ({"run": (str(tmp_path),)}, "no run"),
    ):
        with pytest.raises(UsageError, match=told):
            check(ServeConfig.from_flat(settings), lambda line: None)
