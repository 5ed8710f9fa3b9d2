"""fsspec file systems as this project uses them: one layer of retries, timeouts, no stale listings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from litelvlm.pipeline.storage.faults import StoreFault, classify
from litelvlm.pipeline.storage.retries import RetryPolicy, with_retries

_TIMEOUTS = {"connect_timeout": 10.0, "read_timeout": 60.0}  # seconds
_LOCAL = ("file", "local")
_NOT_OBJECT_STORES = (*_LOCAL, "http", "https", "memory")


def filesystem_for(path: str, options: Mapping[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    """File system and bare path of a local path or URL.

    `options` reach object stores only: a local disk needs none, and a web server must not be sent credentials.

    Raises:
        ValueError: unknown protocol, or its package is missing, or the options do not fit.
    """
    protocol = protocol_of(path)
    object_store = protocol not in _NOT_OBJECT_STORES
    arguments = store_options(protocol, options) if object_store else {}
    try:
        fs, bare = fsspec.core.url_to_fs(path, **arguments)
    except (ValueError, ImportError, TypeError) as error:
        raise ValueError(f"cannot open {path!r} as {protocol}: {error}") from error
    return single_try(fs), bare


def store_options(
    protocol: str, options: Mapping[str, Any], timeouts: Mapping[str, float] = _TIMEOUTS
) -> dict[str, Any]:
    """Arguments of an object store's file system; what the user gave wins, `{"s3": {...}}` included.

    S3's client keeps to one try and to timeouts, so that a store that stalls is noticed.
    """
    nested = options.get(protocol)
    arguments = dict(nested if isinstance(nested, Mapping) else options)
    arguments.setdefault("use_listings_cache", False)
    if protocol == "s3":
        given = arguments.get("config_kwargs", {})
        arguments["config_kwargs"] = {**timeouts, "retries": {"max_attempts": 0}, **given}
    return arguments


def single_try(fs: fsspec.AbstractFileSystem) -> fsspec.AbstractFileSystem:
    """The same file system without retries of its own: nested in `pipeline.storage.retries` they would multiply."""
    if "s3" in fs.protocol:
        fs.retries = 1
    return fs


def look_up(fs: fsspec.AbstractFileSystem, path: str, what: str, retry: RetryPolicy | None = None) -> dict[str, Any]:
    """What the store knows about an object or directory: `size`, `type` and more.

    Raises as `with_retries` does, FileNotFoundError included.
    """

    def look() -> dict[str, Any]:
        try:
            return fs.info(path)
        except OSError as error:
            # An answer to HEAD has no body, so the code is lost; that of a GET tells expired credentials from others.
            unclear = classify(error) in (StoreFault.FORBIDDEN, StoreFault.PERMANENT)
            if unclear and not isinstance(fs, LocalFileSystem):
                fs.cat_file(path, start=0, end=1)
            raise

    return with_retries(look, what, retry)


def read_whole(fs: fsspec.AbstractFileSystem, path: str) -> bytes:
    """Content of an object, in one request. s3fs would ask for the size first, and HEAD hides why it is refused."""
    try:
        return fs.cat_file(path, start=0)
    except Exception as error:
        if classify(error) is StoreFault.EMPTY_RANGE:
            return b""  # some stores refuse any range of an empty object
        raise


def protocol_of(path: str) -> str:
    """Protocol of a URL, `file` for a plain path."""
    head, separator, _ = path.partition("://")
    return head.lower() if separator else "file"


def is_local(path: str) -> bool:
    """Whether the path lies on this machine's disk."""
    return protocol_of(path) in _LOCAL
