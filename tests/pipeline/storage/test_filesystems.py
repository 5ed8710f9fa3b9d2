"""File systems as they are opened: credentials for object stores alone, one layer of retries, whole reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.storage.faults import StoreFault, classify, error_code
from litelvlm.pipeline.storage.filesystems import (
    filesystem_for,
    is_local,
    local_path,
    look_up,
    protocol_of,
    read_whole,
    store_options,
)
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.storage.test_retries import s3_error


def test_options_reach_object_stores_only(tmp_path: Path) -> None:
    options = {"key": "secret"}
    assert "secret" not in repr(filesystem_for("https://example.com/x", options)[0].storage_options)
    assert filesystem_for(str(tmp_path), options)[1] == str(tmp_path)
    with pytest.raises(ValueError, match="nope"):
        filesystem_for("nope://x", {})


@pytest.mark.parametrize(
    ("path", "protocol", "local"),
    [
        ("/data/in", "file", True),
        ("in.parquet", "file", True),
        ("FILE:///data", "file", True),
        ("local://data", "local", True),
        ("s3://bucket/x", "s3", False),
        ("https://h/x", "https", False),
    ],
)
def test_the_protocol_of_a_path(path: str, protocol: str, *, local: bool) -> None:
    assert (protocol_of(path), is_local(path)) == (protocol, local)


def test_what_the_user_gave_wins_over_what_a_store_gets_by_itself() -> None:
    found = store_options("s3", {"key": "k", "config_kwargs": {"read_timeout": 5}}, {"read_timeout": 60.0})
    assert found["config_kwargs"] == {"read_timeout": 5, "retries": {"max_attempts": 0}}
    assert (found["key"], found["use_listings_cache"]) == ("k", False)
    found = store_options("gs", {"token": "t", "use_listings_cache": True, "requests_timeout": 5})
    assert (found["token"], found["use_listings_cache"], found["requests_timeout"]) == ("t", True, 5)
    found = store_options("az", {"account_name": "a", "read_timeout": 5})
    assert (found["account_name"], found["read_timeout"], found["connection_timeout"]) == ("a", 5, 10.0)


def test_options_of_several_stores_are_told_apart() -> None:
    given = {"s3": {"key": "k"}, "gs": {"token": "t"}}
    assert store_options("gs", given)["token"] == "t"
    assert store_options("gcs", given)["token"] == "t"
    assert "key" not in store_options("gs", given)
    assert store_options("s3", given)["key"] == "k"
    assert "token" not in store_options("s3", given)


def test_a_store_tries_once_by_itself() -> None:
    fs, bare = filesystem_for("s3://bucket/x", {"anon": True})
    assert (fs.retries, bare) == (1, "bucket/x")
    assert fs.config_kwargs["retries"] == {"max_attempts": 0}


def test_googles_client_tries_once_and_keeps_to_timeouts() -> None:
    core = pytest.importorskip("gcsfs.core", reason="pip install '.[gcs]'")
    fs, bare = filesystem_for("gs://bucket/x", {"token": "anon"})
    assert (type(fs), bare) == (core.GCSFileSystem, "bucket/x")
    assert fs._request.func is core.GCSFileSystem._request.__wrapped__
    timeout = fs.requests_timeout
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, 10.0, 60.0)


def test_azures_client_tries_once_and_keeps_to_timeouts() -> None:
    pytest.importorskip("adlfs", reason="pip install '.[azure]'")
    fs, bare = filesystem_for("abfs://bucket/x", {"account_name": "a", "account_key": "a2V5", "read_timeout": 5})
    client = fs.service_client.get_container_client("bucket")
    connection = fs.service_client._pipeline._transport.connection_config
    assert bare == "bucket/x"
    assert client._config.retry_policy.total_retries == 0
    assert (connection.timeout, connection.read_timeout) == (10.0, 5)


@pytest.mark.parametrize(
    ("status", "body", "fault", "code"),
    [
        (401, b'{"error": {"errors": [{"reason": "authError"}]}}', StoreFault.CREDENTIALS, "authError"),
        (403, b'{"error": {"errors": [{"reason": "forbidden"}]}}', StoreFault.FORBIDDEN, "forbidden"),
        (403, b'{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}', StoreFault.TRANSIENT, "rateLimitExceeded"),
        (400, b'{"error": {"message": "invalid"}}', StoreFault.PERMANENT, None),
        (503, b'{"error": {"message": "invalid"}}', StoreFault.TRANSIENT, None),
        (416, b"[]", StoreFault.EMPTY_RANGE, None),
        (429, b"\xff", StoreFault.TRANSIENT, None),
    ],
)
def test_googles_answers_keep_their_status(status: int, body: bytes, fault: StoreFault, code: str | None) -> None:
    retry = pytest.importorskip("gcsfs.retry", reason="pip install '.[gcs]'")
    with pytest.raises(retry.HttpError) as caught:
        asyncio.run(refuse(Answer(status=status, body=body)))
    assert (classify(caught.value), error_code(caught.value)) == (fault, code)


@pytest.mark.parametrize("status", [200, 308, 404, 412])
def test_what_gcsfs_tells_by_itself_is_left_to_it(status: int) -> None:
    pytest.importorskip("gcsfs", reason="pip install '.[gcs]'")
    asyncio.run(refuse(Answer(status=status, body=b"")))


async def refuse(answer: Answer) -> None:
    """What the session below gcsfs does with an answer."""
    await store_options("gs", {})["session_kwargs"]["raise_for_status"](answer)


@dataclass(frozen=True)
class Answer:
    """As `aiohttp.ClientResponse`."""

    status: int
    body: bytes
    reason: str | None = None

    async def read(self) -> bytes:
        return self.body


def test_a_protocol_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="cannot open 'nope://x' as nope"):
        filesystem_for("nope://x", {})


def test_an_empty_object_whose_store_refuses_every_range_is_empty() -> None:
    class Empty(MemoryFileSystem):  # type: ignore[misc]
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
            raise s3_error("InvalidRange", 416)

    assert read_whole(Empty(), "x") == b""


def test_what_is_not_there_is_said_as_such(tmp_path: Path) -> None:
    fs, bare = filesystem_for(str(tmp_path), {})
    assert look_up(fs, bare, "looking")["type"] == "directory"
    with pytest.raises(FileNotFoundError):
        look_up(fs, f"{bare}/gone", "looking for gone")


def test_a_home_directory_is_understood_wherever_a_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a/../b") == local_path("file://~/b") == f"{tmp_path}/b"
    assert local_path("/a/~b") == "/a/~b"
    assert Storage("~/run").root == f"{tmp_path}/run"
    assert UriPolicy(image_root="~/images", manifest_is_local=True).image_root == f"{tmp_path}/images"
    assert filesystem_for("~/table", {})[1] == f"{tmp_path}/table"
