"""fsspec file systems as this project uses them: one layer of retries, timeouts, no stale listings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from litelvlm.pipeline.storage.faults import StoreFault, classify
from litelvlm.pipeline.storage.retries import RetryPolicy, with_retries

if TYPE_CHECKING:
    import aiohttp

#: Scheme in a URI -> fsspec protocol of the store.
OBJECT_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "abfs", "abfs": "abfs", "abfss": "abfs"}
_TIMEOUTS = {"connect_timeout": 10.0, "read_timeout": 60.0}  # seconds
_LOCAL = ("file", "local")
_NOT_OBJECT_STORES = (*_LOCAL, "http", "https", "memory")


def local_path(given: str) -> str:
    """A path on a local disk as an absolute one: `~` and `file://` are understood wherever somebody gives one."""
    return os.path.abspath(os.path.expanduser(given.removeprefix("file://")))


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
        fs, bare = _open(protocol, path, arguments)
    except (ValueError, ImportError, TypeError) as error:
        raise ValueError(f"cannot open {path!r} as {protocol}: {error}") from error
    return single_try(fs), bare


def client_class(protocol: str) -> type[fsspec.AbstractFileSystem]:
    """The class that speaks to a store. Raises ImportError where its package is missing."""
    if OBJECT_SCHEMES.get(protocol) == "gs":
        # The one that gcsfs exports asks another API, over gRPC and with retries of its own, of what kind a bucket is.
        from gcsfs.core import GCSFileSystem

        return GCSFileSystem
    return fsspec.get_filesystem_class(protocol)


def store_options(
    protocol: str, options: Mapping[str, Any], timeouts: Mapping[str, float] = _TIMEOUTS
) -> dict[str, Any]:
    """Arguments of an object store's file system; what the user gave wins, `{"s3": {...}}` included.

    Its client keeps to timeouts, so that a store that stalls is noticed, and S3's to one try; see `single_try` for the
    other clients.
    """
    store = OBJECT_SCHEMES.get(protocol, protocol)
    nested = options.get(protocol, options.get(store))
    arguments = dict(nested if isinstance(nested, Mapping) else options)
    arguments.setdefault("use_listings_cache", False)
    if store == "s3":
        given = arguments.get("config_kwargs", {})
        arguments["config_kwargs"] = {**timeouts, "retries": {"max_attempts": 0}, **given}
    elif store == "gs":
        given = arguments.get("session_kwargs", {})
        arguments["session_kwargs"] = {"raise_for_status": _raise_with_status, **given}
        arguments.setdefault("requests_timeout", _google_timeout(timeouts))
    elif store == "abfs":
        azure = {"connection_timeout": timeouts.get("connect_timeout"), "read_timeout": timeouts.get("read_timeout")}
        arguments = azure | arguments
    return arguments


def single_try(fs: fsspec.AbstractFileSystem) -> fsspec.AbstractFileSystem:
    """The same file system without retries of its own: nested in `pipeline.storage.retries` they would multiply.

    What remains is Azure's client, which reads a body that breaks off up to three times.
    """
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    stores = {OBJECT_SCHEMES.get(protocol) for protocol in protocols}
    if "s3" in stores:
        fs.retries = 1
    elif "gs" in stores:
        for name in ("_request", "_get_file_request"):  # the retries are a decorator of these
            setattr(fs, name, partial(getattr(type(fs), name).__wrapped__, fs))
    elif "abfs" in stores:
        _keep_azure_to_one_try(fs)
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


def _open(protocol: str, path: str, arguments: dict[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    if OBJECT_SCHEMES.get(protocol) == "gs":
        kind = client_class(protocol)
        return kind(**arguments), kind._strip_protocol(path)
    return fsspec.core.url_to_fs(path, **arguments)


def _google_timeout(timeouts: Mapping[str, float]) -> aiohttp.ClientTimeout:
    """Timeouts of every request of gcsfs, which overrides those of its session."""
    from aiohttp import ClientTimeout

    connect, read = timeouts.get("connect_timeout"), timeouts.get("read_timeout")
    return ClientTimeout(total=None, sock_connect=connect, sock_read=read)


async def _raise_with_status(answer: aiohttp.ClientResponse) -> None:
    """Raise before gcsfs does, which forgets the status of a 403 and of whatever has `invalid` in its text.

    An object that is missing or there already is left to it.
    """
    from gcsfs.retry import HttpError

    if answer.status >= 400 and answer.status not in (404, 412):
        text = (await answer.read()).decode("utf-8", errors="replace")
        error = HttpError({"code": answer.status, "message": f"{answer.reason or ''} {text}".strip()})
        error.error_code = _google_reason(text)
        raise error


def _google_reason(text: str) -> str | None:
    """The reason in the body of an error, such as `authError`, None where it names none."""
    try:
        reason = json.loads(text)["error"]["errors"][0]["reason"]
    except (ValueError, LookupError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def _keep_azure_to_one_try(fs: fsspec.AbstractFileSystem) -> None:
    """Without retries, and with the timeouts of its uploads and downloads for every other request as well.

    adlfs hands none of these on to the client that it makes.
    """
    client, timeouts = fs.service_client, fs._timeout_kwargs
    client._config.retry_policy.total_retries = 0
    connection = client._pipeline._transport.connection_config
    connection.timeout = timeouts.get("connection_timeout") or connection.timeout
    connection.read_timeout = timeouts.get("read_timeout") or connection.read_timeout
