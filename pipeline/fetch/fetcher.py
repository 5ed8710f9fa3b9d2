"""Reads the bytes of images that a table names by URI, within a `UriPolicy`.

Local files, object stores through fsspec, and HTTP. Transient failures are tried again with growing, random pauses;
everything else ends at once as a `FetchError` that holds no credentials. Only credentials that a store refuses are no
record's fault: they end as a `CredentialsError`.
"""

import errno
import itertools
import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any

from litelvlm.pipeline.fetch.http import TransientError, http_get
from litelvlm.pipeline.fetch.policy import FetchError, PermittedRead, UriPolicy, redact_uri
from litelvlm.pipeline.storage.faults import StoreFault, classify, error_code, stop_for
from litelvlm.pipeline.storage.filesystems import client_class, single_try, store_options
from litelvlm.pipeline.storage.retries import RetryPolicy

_WEB_PAUSES_S = 31.5  # the first half a second, as `RetryPolicy` shares them out
_LONGEST_ASKED_S = 15.0
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class ImageFetcher:
    """Fetches images by URI. Cheap to make and to pickle; connections are opened at the first use.

    `storage_options` go to fsspec as they are; where several stores are in use, nest them by protocol
    (``{"s3": {...}, "gs": {...}}``). Stores are insisted on by `retry`, web servers by the policy's `max_attempts`.
    """

    def __init__(
        self,
        policy: UriPolicy,
        storage_options: Mapping[str, Any] | None = None,
        *,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.policy = policy
        self.storage_options = dict(storage_options or {})
        self._retry = retry or RetryPolicy.from_environment()
        self._sleep = sleep
        self._filesystems: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_filesystems": {}}

    def fetch(self, uri: str) -> bytes:
        """The bytes at `uri`.

        Raises:
            FetchError: refused, bad_uri, not_found, forbidden, too_many_bytes, unavailable, …
            CredentialsError: the store refuses the credentials.
        """
        target = self.policy.resolve(uri)
        started, retry = time.monotonic(), self._retry_of(target)
        for tried in itertools.count(1):
            try:
                return self._read(target)
            except TransientError as error:
                if retry.ends(tried, time.monotonic() - started):
                    detail = f"{redact_uri(uri)}: gave up after {tried} attempts ({error})"
                    raise FetchError("unavailable", detail) from None
                self._sleep(max(retry.pause_s(tried), min(error.retry_after_s or 0.0, _LONGEST_ASKED_S)))
        raise AssertionError("unreachable: the tries are bounded")

    def _retry_of(self, target: PermittedRead) -> RetryPolicy:
        tries = self.policy.max_attempts
        return (
            self._retry
            if target.kind == "object"
            else RetryPolicy(seconds=_WEB_PAUSES_S, tries=tries, patient_tries=tries)
        )

    def _read(self, target: PermittedRead) -> bytes:
        if target.kind == "file":
            return _read_file(target, self.policy.max_bytes)
        if target.kind == "http":
            return http_get(target, self.policy)
        return self._read_object(target)

    def _read_object(self, target: PermittedRead) -> bytes:
        limit = self.policy.max_bytes
        uri = redact_uri(f"{target.protocol}://{target.location}")
        try:
            # One request, one byte more than the limit: no need to ask for the size first.
            data = self._filesystem(target.protocol).cat_file(target.location, start=0, end=limit + 1)
        except Exception as error:  # noqa: BLE001 - record boundary: stores raise types of their own
            if classify(error) is not StoreFault.EMPTY_RANGE:
                raise _object_error(error, uri) from None
            data = b""  # some stores refuse a range of an empty object
        if len(data) > limit:
            raise FetchError("too_many_bytes", f"{uri} is larger than {limit} bytes")
        return bytes(data)

    def _filesystem(self, protocol: str) -> Any:
        if protocol not in self._filesystems:
            timeouts = {"connect_timeout": self.policy.timeout_s, "read_timeout": self.policy.timeout_s}
            options = store_options(protocol, self.storage_options, timeouts)
            self._filesystems[protocol] = single_try(client_class(protocol)(**options))
        return self._filesystems[protocol]


def _read_file(target: PermittedRead, max_bytes: int) -> bytes:
    shown = redact_uri(target.location)
    path = os.path.realpath(target.location)
    roots = [os.path.realpath(root) for root in target.roots]
    root = next((root for root in roots if path.startswith(root.rstrip(os.sep) + os.sep)), None)
    if roots and root is None:
        raise FetchError("refused", f"{shown} lies outside the image root")
    try:
        descriptor = _open_below(root or os.sep, path)
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise FetchError("not_a_file", f"{shown} is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(max_bytes + 1) if info.st_size <= max_bytes else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _file_error(error, shown) from None
    if info.st_size > max_bytes or len(data) > max_bytes:
        raise FetchError("too_many_bytes", f"{shown} is larger than {max_bytes} bytes")
    return data


def _open_below(root: str, path: str) -> int:
    """A descriptor of a resolved path, walked part by part from `root`: a directory that became a link since it was
    looked at is not followed."""
    *parents, name = os.path.relpath(path, root).split(os.sep)
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for parent in parents:
            inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        # Non-blocking, so that a named pipe cannot hold the worker before it is seen not to be a file.
        return os.open(name, _OPEN_FLAGS, dir_fd=directory)
    finally:
        os.close(directory)


def _file_error(error: OSError, shown: str) -> FetchError | TransientError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FetchError("not_found", f"{shown} does not exist")
    if isinstance(error, PermissionError):
        return FetchError("forbidden", f"{shown} may not be read")
    if error.errno in (errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT):
        return TransientError(errno.errorcode.get(error.errno, "OSError"))
    return FetchError("unreadable", f"{shown}: {errno.errorcode.get(error.errno or 0, type(error).__name__)}")


def _object_error(error: Exception, uri: str) -> Exception:
    """The store's error without its text, which may quote a request with its signature."""
    name, fault = type(error).__name__, classify(error)
    if fault is StoreFault.CREDENTIALS:
        return stop_for(error, f"reading {uri}")
    if fault is StoreFault.MISSING:
        return FetchError("not_found", f"{uri} does not exist")
    if fault is StoreFault.FORBIDDEN:
        return FetchError("forbidden", f"{uri} may not be read with these credentials")
    if fault is StoreFault.TRANSIENT:
        return TransientError(error_code(error) or name)
    if isinstance(error, ImportError):
        return FetchError("unsupported", f"{uri}: the package for this store is not installed")
    if isinstance(error, TypeError | ValueError) and not isinstance(error, OSError):
        return FetchError("bad_uri", f"{uri}: {name}")
    return FetchError("unreadable", f"{uri}: {error_code(error) or name}")
