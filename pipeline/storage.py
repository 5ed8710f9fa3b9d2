"""One wrapper over fsspec: the few storage operations a run needs, with their guarantees.

* `write_bytes` publishes a whole object or nothing.
* `create_exclusive` lets exactly one of many writers win. S3 is asked with `If-None-Match: *`; a local file is written
  and synced under another name, then hard-linked. Stores that refuse the condition fall back to look-then-write, which
  narrows the race without closing it; the result is then still one marker, naming one complete data file.
* Transient errors are retried with exponential backoff and jitter, a bounded number of times.
"""

from __future__ import annotations

import errno
import os
import random
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

T = TypeVar("T")

RETRIES = 5
_FIRST_DELAY_S = 0.2
_PERMANENT_ERRNOS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOSPC, errno.EROFS, errno.ENOTDIR}
_PERMANENT_ERRORS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


class StorageError(OSError):
    """The store refuses or stays unreachable after every retry. The run stops; running it again resumes."""


def with_retries(action: Callable[[], T], what: str) -> T:
    """Run a storage action; retry transient errors `RETRIES` times.

    Raises:
        StorageError: it still fails.
        FileNotFoundError, FileExistsError, PermissionError: at once, as they are.
    """
    delay_s = _FIRST_DELAY_S
    for attempt in range(RETRIES + 1):
        try:
            return action()
        except _PERMANENT_ERRORS:
            raise
        except (OSError, TimeoutError) as error:
            if error.errno in _PERMANENT_ERRNOS or attempt == RETRIES:
                raise StorageError(f"{what}: {type(error).__name__}: {error}") from error
        time.sleep(delay_s * (0.5 + random.random()))
        delay_s = min(2 * delay_s, 10.0)
    raise AssertionError("unreachable")


def filesystem_for(path: str, options: dict[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    """File system and bare path of a local path or URL.

    `options` reach object stores only: a local disk needs none, and a web server must not be sent credentials.

    Raises:
        ValueError: unknown protocol, or its package is missing, or the options do not fit.
    """
    protocol = protocol_of(path)
    object_store = protocol not in ("file", "local", "http", "https", "memory")
    arguments = dict(options) if object_store else {}
    if object_store:
        arguments.setdefault("use_listings_cache", False)
    try:
        return fsspec.core.url_to_fs(path, **arguments)
    except (ValueError, ImportError, TypeError) as error:
        raise ValueError(f"cannot open {path!r} as {protocol}: {error}") from error


def protocol_of(path: str) -> str:
    """Protocol of a URL, `file` for a plain path."""
    head, separator, _ = path.partition("://")
    return head.lower() if separator else "file"


def is_local(path: str) -> bool:
    """Whether the path lies on this machine's disk."""
    return protocol_of(path) in ("file", "local")


class Storage:
    """The output directory of a run. Picklable; names are relative, with `/`."""

    def __init__(self, root: str, options: dict[str, Any] | None = None) -> None:
        self.root = root.rstrip("/") or "/"
        self._options = dict(options or {})
        if is_local(self.root):
            self.root = os.path.abspath(self.root.removeprefix("file://"))
        self._fs, self._base = filesystem_for(self.root, self._options)

    def __reduce__(self) -> tuple[type[Storage], tuple[str, dict[str, Any]]]:
        return Storage, (self.root, self._options)

    @property
    def local(self) -> bool:
        """Whether the output lies on a local disk."""
        return isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """Full path of a name, as the file system takes it."""
        return f"{self._base.rstrip('/')}/{name}"

    def read_bytes(self, name: str) -> bytes:
        """Content of an object. Raises FileNotFoundError where there is none."""
        return with_retries(lambda: self._fs.cat_file(self.path(name)), f"reading {name}")

    def exists(self, name: str) -> bool:
        """Whether the object is there now."""
        try:
            with_retries(lambda: self._fs.info(self.path(name)), f"looking for {name}")
        except FileNotFoundError:
            return False
        return True

    def list(self, directory: str) -> list[str]:
        """Sorted names of all objects below a directory, temporary ones included; empty where it does not exist."""

        def find() -> list[str]:
            self._fs.invalidate_cache()
            return self._fs.find(self.path(directory))

        try:
            found = with_retries(find, f"listing {directory}")
        except FileNotFoundError:
            return []
        prefix = f"{self._base.rstrip('/')}/"
        return sorted(path.removeprefix(prefix) for path in found)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Put an object, whole or not at all; an older one of that name is replaced."""
        if self.local:
            temporary = self._write_temporary(name, data)
            os.replace(temporary, self.path(name))
            _sync_directory(os.path.dirname(self.path(name)))
        else:
            with_retries(lambda: self._fs.pipe_file(self.path(name), data), f"writing {name}")

    def create_exclusive(self, name: str, data: bytes) -> bool:
        """Create an object unless it exists. Returns whether it was created by this call.

        False after a retry may also mean that this call's own write succeeded and its answer was lost.
        """
        if self.local:
            return self._link_exclusive(name, data)
        try:
            with_retries(lambda: self._put_conditional(self.path(name), data), f"creating {name}")
        except FileExistsError:
            return False
        return True

    def open_write(self, name: str) -> BinaryIO:
        """A binary stream that publishes the object when it is closed."""
        if self.local:
            return cast(BinaryIO, _PublishedFile(self.path(name)))
        return self._fs.open(self.path(name), "wb")

    def open_read(self, name: str) -> BinaryIO:
        """A binary stream over an object."""
        return with_retries(lambda: self._fs.open(self.path(name), "rb"), f"opening {name}")

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those already gone are no error."""
        for name in names:
            try:
                with_retries(partial(self._fs.rm_file, self.path(name)), f"removing {name}")
            except FileNotFoundError:
                continue

    def check_writable(self) -> None:
        """Raises ValueError when nothing can be written there."""
        probe = f"_probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"")
            self.delete([probe])
        except OSError as error:
            raise ValueError(f"output {self.root!r} is not writable: {error}") from error

    def _put_conditional(self, path: str, data: bytes) -> None:
        try:
            self._fs.pipe_file(path, data, mode="create")
        except NotImplementedError:
            if self._fs.exists(path):
                raise FileExistsError(path) from None
            self._fs.pipe_file(path, data)
        except OSError as error:
            if _lost_race(error):
                raise FileExistsError(path) from error
            raise

    def _link_exclusive(self, name: str, data: bytes) -> bool:
        if os.path.exists(self.path(name)):
            return False
        temporary = self._write_temporary(name, data)
        try:
            os.link(temporary, self.path(name))
        except FileExistsError:
            return False
        except FileNotFoundError:
            if os.path.exists(self.path(name)):  # another driver finished this very run and swept what was left over
                return False
            raise
        except OSError as error:
            raise StorageError(f"creating {name}: the file system takes no hard links ({error})") from error
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        _sync_directory(os.path.dirname(self.path(name)))
        return True

    def _write_temporary(self, name: str, data: bytes) -> str:
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.tmp-{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise StorageError(f"writing {name}: {error}") from error
        return temporary


class _PublishedFile:
    """A local file under a temporary name that takes its own name when it is closed without an error."""

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._path = path
        self._temporary = f"{path}.tmp-{uuid.uuid4().hex}"
        self._file = open(self._temporary, "xb")  # noqa: SIM115 - closed by `close`

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _PublishedFile:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self._file.close()
            os.unlink(self._temporary)

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)


def _lost_race(error: OSError) -> bool:
    """Whether a conditional write was refused because the object exists (HTTP 412)."""
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "412")


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
