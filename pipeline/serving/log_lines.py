"""Log lines of the process that speaks HTTP, shown by the one that somebody has started: datagrams on this machine."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator

_MAX_BYTES = 1 << 20
_FOLDER = "/tmp"  # a socket's path has 100 characters at most


@contextlib.contextmanager
def log_lines(show: Callable[[str], None]) -> Iterator[str]:
    """Show the lines that a `LineHandler` of any process sends, one after the other, until the block ends. Yields the
    path that it takes."""
    kind = socket.AF_UNIX, socket.SOCK_DGRAM
    with tempfile.TemporaryDirectory(prefix="litelvlm-", dir=_FOLDER) as folder, socket.socket(*kind) as taken:
        path = f"{folder}/log"
        taken.bind(path)
        thread = threading.Thread(target=_relay, args=(taken, show), name="log", daemon=True)
        thread.start()
        try:
            yield path
        finally:
            with socket.socket(*kind) as last:
                last.sendto(b"", path)
            thread.join()


def _relay(taken: socket.socket, show: Callable[[str], None]) -> None:
    while data := taken.recv(_MAX_BYTES):
        with contextlib.suppress(OSError, ValueError):  # whoever reads is gone
            show(data.decode("utf-8", "replace"))


class LineHandler(logging.Handler):
    """Sends lines there. It never waits: what nobody takes is left out."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send its message."""
        with contextlib.suppress(OSError):
            self._socket.sendto(record.getMessage().encode(), self._path)

    def close(self) -> None:
        """Send no more."""
        self._socket.close()
        super().close()
