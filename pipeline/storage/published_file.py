"""A file that appears as a whole or not at all: written under a temporary name, handed on when it is closed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from litelvlm.pipeline.storage.faults import stop_for


class PublishedFile:
    """A binary stream into the local file `temporary`; closing it calls `publish` and removes what is left of it.

    Left by an exception, or discarded, it publishes nothing. Any trouble of the disk is a StorageError.
    """

    def __init__(self, temporary: str, publish: Callable[[], None], what: str) -> None:
        self._temporary, self._publish, self._what = temporary, publish, what
        self._discarded = False
        self._position = 0
        with self._named_errors():
            os.makedirs(os.path.dirname(temporary), exist_ok=True)
            self._file = open(temporary, "xb")  # noqa: SIM115 - closed by `close` and `discard`

    def write(self, data: Any) -> int:
        """Append bytes. After `discard` they go nowhere: a format's writer may end its file when it is collected."""
        num_bytes = memoryview(data).nbytes
        if not self._discarded:
            with self._named_errors():
                self._file.write(data)
        self._position += num_bytes
        return num_bytes

    def writelines(self, lines: Iterable[Any]) -> None:
        """Append several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on to the operating system."""
        if not self._file.closed:
            with self._named_errors():
                self._file.flush()

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        """Whether it was published or discarded."""
        return self._file.closed and not self._discarded

    def close(self) -> None:
        """Publish. Calling it again changes nothing."""
        if self._file.closed:
            return
        try:
            with self._named_errors():
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._publish()
        finally:
            self.discard()

    def discard(self) -> None:
        """Publish nothing, or nothing more."""
        self._discarded = self._discarded or not self._file.closed
        with contextlib.suppress(OSError):  # a full disk is noticed again when the buffer is written out
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)

    def __enter__(self) -> PublishedFile:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self.discard()

    @contextlib.contextmanager
    def _named_errors(self) -> Any:
        try:
            yield
        except OSError as error:
            raise stop_for(error, self._what) from error
