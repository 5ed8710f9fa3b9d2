"""One wrapper over fsspec: the few storage operations a run needs, with their guarantees.

* `write_bytes` and `open_write` publish a whole object or nothing.
* `create_exclusive` lets exactly one of many writers win, see there for stores that cannot do that.
* Transient errors are retried (`pipeline.storage.retries`); what remains is a StorageError and a stopped run.
"""

from __future__ import annotations

import builtins
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from fsspec.implementations.local import LocalFileSystem

from litelvlm.pipeline.errors import CredentialsError
from litelvlm.pipeline.storage.faults import StoreFault, classify, stop_for
from litelvlm.pipeline.storage.filesystems import filesystem_for, is_local, local_path, read_whole
from litelvlm.pipeline.storage.published_file import PublishedFile
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.storage.retries import RetryPolicy, with_retries

T = TypeVar("T")

_DELETE_THREADS = 8
_TEMPORARY = ".tmp-"
_MAX_NAME_BYTES = 255
_PART_BYTES = 32 << 20  # of an upload in parts; two of them lie in memory at a time


class Storage:
    """The output directory of a run. Picklable, with its retry policy; names are relative, with `/`."""

    def __init__(self, root: str, options: dict[str, Any] | None = None, *, retry: RetryPolicy | None = None) -> None:
        self.root = root.rstrip("/") or "/"
        self.retry = retry or RetryPolicy.from_environment()
        self._options = dict(options or {})
        if is_local(self.root):
            self.root = local_path(self.root)
        self._fs, self._base = filesystem_for(self.root, self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Storage, retry=self.retry), (self.root, self._options)

    @property
    def local(self) -> bool:
        """Whether the output lies on a local disk."""
        return isinstance(self._fs, LocalFileSystem)

    @property
    def options(self) -> dict[str, Any]:
        """For fsspec, as they were given."""
        return self._options

    def path(self, name: str) -> str:
        """Full path of a name, as the file system takes it."""
        return f"{self._base.rstrip('/')}/{name}"

    def read_bytes(self, name: str) -> bytes:
        """Content of an object. Raises FileNotFoundError where there is none."""
        return self._retried(lambda: read_whole(self._fs, self.path(name)), f"reading {name}")

    def exists(self, name: str) -> bool:
        """Whether the object is there now."""

        def look() -> bool:
            try:
                self._fs.cat_file(self.path(name), start=0, end=1)  # an answer to HEAD would not tell what is wrong
            except Exception as error:
                if classify(error) is not StoreFault.EMPTY_RANGE:
                    raise
            return True

        try:
            return self._retried(look, f"looking for {name}")
        except FileNotFoundError:
            return False

    def list(self, directory: str) -> list[str]:
        """Sorted names of all objects below a directory, temporary ones included; empty where it does not exist.

        A listing may lag behind: what must be known for sure is looked up by its name instead.
        """

        def find() -> list[str]:
            self._fs.invalidate_cache()
            return self._fs.find(self.path(directory))

        try:
            found = self._retried(find, f"listing {directory}")
        except FileNotFoundError:
            return []
        prefix = f"{self._base.rstrip('/')}/"
        names = (path.removeprefix(prefix) for path in found)
        # s3fs may answer with the directory itself, where another request knows of objects that this one did not list.
        return sorted(name for name in names if not directory or name.startswith(f"{directory}/"))

    def whole_files(self) -> builtins.list[str]:
        """Sorted names of all objects but those that a writer which died has left half written."""
        return [name for name in self.list("") if _TEMPORARY not in name.rpartition("/")[2]]

    def leftovers(self) -> builtins.list[str]:
        """Temporary files at the top level of a local output, of writers that died. Stores have none."""
        if not self.local:
            return []
        with os.scandir(self._base) as entries:
            return sorted(entry.name for entry in entries if _TEMPORARY in entry.name)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Put an object, whole or not at all; an older one of that name is replaced."""
        if self.local:
            with self.open_write(name) as stream:
                stream.write(data)
        else:
            self._retried(lambda: self._fs.pipe_file(self.path(name), data), f"writing {name}")

    def create_exclusive(self, name: str, data: bytes) -> bool:
        """Create an object unless it exists. Returns whether the object is this call's.

        Where it exists, content decides: an answer may be lost after the store took the object, and the client's
        second try is then refused by its own first. So writers that must be told apart write content of their own.

        * Local disk: written and synced under another name, then hard-linked. One writer wins.
        * Stores with conditional writes (`If-None-Match: *`): one writer wins.
        * Stores without: look, write, read back. Two writers that look before either has written both write. The last
          one's content stays; the other sees that, or, if it reads back too early, also believes to have won. The
          output is right all the same: whoever writes a marker has written a complete data file before, the marker
          names one of these files, and readers go by the marker alone; both files hold the records of the same shard.
          Not guaranteed there: that of two drivers on one output neither does a shard twice, and that the file of a
          marker outlives the sweep of a driver that read the other's. Stores that silently ignore the condition are
          looked at first as well, but not read back.
        """
        if self.local:
            return self._link_exclusive(name, data)
        path = self.path(name)
        try:
            if not self.exists(name):
                self._retried(lambda: self._put_conditional(path, data), f"creating {name}")
                return True
        except FileExistsError:
            pass
        try:
            return self.read_bytes(name) == data
        except FileNotFoundError:  # swept by another driver that finished this very run
            return False

    def open_write(self, name: str) -> PublishedFile:
        """A binary stream that publishes the object, as a whole, when it is closed; see `PublishedFile`.

        For a remote store it is kept in a temporary file on this machine's disk until then, and sent with retries.
        """
        path, what = self.path(name), f"writing {name}"
        if self.local:
            temporary = _beside(path)
            publish = partial(_replace, temporary, path)
        else:
            temporary = os.path.join(tempfile.gettempdir(), f"litelvlm-upload-{uuid.uuid4().hex}")
            publish = partial(self._upload, temporary, name)
            what = f"{what} by way of {tempfile.gettempdir()}"
        return PublishedFile(temporary, publish, what)

    def open_read(self, name: str) -> BinaryIO:
        """A seekable binary stream over an object. Raises FileNotFoundError where there is none."""
        return cast(BinaryIO, RangeFile(self._fs.unstrip_protocol(self.path(name)), self._options, self.retry))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those already gone are no error."""

        def remove(name: str) -> None:
            try:
                self._retried(lambda: self._fs.rm_file(self.path(name)), f"removing {name}")
            except FileNotFoundError:
                return

        with ThreadPoolExecutor(_DELETE_THREADS) as pool:
            for _ in pool.map(remove, names):
                pass

    def check_writable(self) -> None:
        """Raises ValueError when nothing can be written there, StorageError when that may pass."""
        probe = f"_probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"")
            self.delete([probe])
        except OSError as error:
            transient = error.__cause__ is not None and classify(error.__cause__) is StoreFault.TRANSIENT
            if transient or isinstance(error, CredentialsError):
                raise
            raise ValueError(f"output {self.root!r} is not writable: {error}") from error

    def _retried(self, action: Callable[[], T], what: str) -> T:
        return with_retries(action, f"{self.root}: {what}", self.retry)

    def _upload(self, temporary: str, name: str) -> None:
        def put() -> None:
            if "s3" in self._fs.protocol:
                self._fs.put_file(temporary, self.path(name), chunksize=_PART_BYTES, max_concurrency=2)
            else:
                self._fs.put_file(temporary, self.path(name))

        self._retried(put, f"writing {name}")

    def _put_conditional(self, path: str, data: bytes) -> None:
        """Put an object that is not there. Raises FileExistsError where it is, or another writer was the last."""
        try:
            self._fs.pipe_file(path, data, mode="create")
        except Exception as error:
            # Without the condition a request that is bad for another reason fails again, and that is what counts.
            if classify(error) not in (StoreFault.UNSUPPORTED, StoreFault.PERMANENT):
                raise
            self._put_and_read_back(path, data)

    def _put_and_read_back(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(path, data)
        if read_whole(self._fs, path) != data:
            raise FileExistsError(path)

    def _link_exclusive(self, name: str, data: bytes) -> bool:
        path = self.path(name)
        if os.path.exists(path):
            return False
        temporary = _beside(path)
        created = False

        def link() -> None:
            nonlocal created
            created = _link(temporary, path)

        stream = PublishedFile(temporary, link, f"creating {name}")
        with stream:
            stream.write(data)
        return created


def _beside(path: str) -> str:
    """A temporary name in the same directory, of a length that file systems take whatever that of the path is."""
    directory, name = os.path.split(path)
    suffix = f"{_TEMPORARY}{uuid.uuid4().hex}"
    kept = name.encode()[: _MAX_NAME_BYTES - len(suffix)].decode(errors="ignore")
    return os.path.join(directory, kept + suffix)


def _replace(temporary: str, path: str) -> None:
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        if not os.path.exists(path):  # where it does, another driver finished this very run and swept what was left
            raise
    _sync_directory(os.path.dirname(path))


def _link(temporary: str, path: str) -> bool:
    """Give a complete file its name unless that is taken. Returns whether it got it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return os.stat(temporary).st_nlink == 2  # over NFS: done, but the answer was lost and the request sent again
    except FileNotFoundError:
        if os.path.exists(path):  # another driver finished this very run and swept what was left over
            return False
        raise
    except OSError as error:
        raise stop_for(error, "the file system takes no hard links, or is full") from error
    _sync_directory(os.path.dirname(path))
    return True


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
