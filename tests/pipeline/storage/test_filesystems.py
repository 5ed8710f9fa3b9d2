"""File systems as they are opened: credentials for object stores alone, one layer of retries, whole reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from litelvlm.pipeline.storage.filesystems import (
    filesystem_for,
    is_local,
    look_up,
    protocol_of,
    read_whole,
    store_options,
)
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
    assert store_options("gs", {"token": "t", "use_listings_cache": True}) == {"token": "t", "use_listings_cache": True}


def test_options_of_several_stores_are_told_apart() -> None:
    given = {"s3": {"key": "k"}, "gs": {"token": "t"}}
    assert store_options("gs", given) == {"token": "t", "use_listings_cache": False}
    assert store_options("s3", given)["key"] == "k"
    assert "token" not in store_options("s3", given)


def test_a_store_tries_once_by_itself() -> None:
    fs, bare = filesystem_for("s3://bucket/x", {"anon": True})
    assert (fs.retries, bare) == (1, "bucket/x")
    assert fs.config_kwargs["retries"] == {"max_attempts": 0}


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
