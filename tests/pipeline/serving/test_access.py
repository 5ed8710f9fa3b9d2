"""Tokens, and who may ask without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.serving.access import Gate, read_token
from litelvlm.pipeline.serving.config import TOKEN_VARIABLE, ServeConfig
from litelvlm.pipeline.serving.errors import Refusal
from tests.pipeline.serving.doubles import TOKEN


def test_others_than_this_machine_need_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(ServeConfig()) is None
    with pytest.raises(ValueError, match="--token-file"):
        read_token(ServeConfig(host="0.0.0.0"))
    tls = {"tls_certificate": "chain.pem", "tls_key": "key.pem"}
    with pytest.raises(ValueError, match="--tls-client-ca"):
        read_token(ServeConfig.from_flat({"host": "0.0.0.0", **tls}))
    assert read_token(ServeConfig.from_flat({"host": "0.0.0.0", **tls, "tls_client_ca": "ca.pem"})) is None
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(ServeConfig(host="0.0.0.0", token_file=str(path))) == TOKEN
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(ServeConfig(host="0.0.0.0")) == TOKEN


@pytest.mark.parametrize("token", ["short", "with é in it, long enough", "two\nlines, long enough"])
def test_a_weak_token_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    with pytest.raises(ValueError, match="printable"):
        read_token(ServeConfig())


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_token(ServeConfig(token_file=str(tmp_path / "none")))


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic !!", "Basic eDp5", "Digest a", f"{TOKEN}"])
def test_a_wrong_token_is_refused(authorization: str) -> None:
    with pytest.raises(Refusal) as caught:
        Gate(TOKEN, any_host=True).check("/v1/annotate", {"authorization": authorization, "host": "a"})
    assert caught.value.status == 401
    assert "WWW-Authenticate" in caught.value.headers()


@pytest.mark.parametrize(
    "host", ["evil.example", "", "localhost.evil.example", "127.0.0.1.evil.example", "[", "user@evil"]
)
def test_names_of_other_machines_are_refused(host: str) -> None:
    with pytest.raises(Refusal, match="localhost"):
        Gate(None, any_host=False).check("/health", {"host": host})
    Gate(None, any_host=False).check("/health", {"host": "[::1]:8123"})
