"""What the image encoders made of images, kept for the next phrase: least recently used first out, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """How a cache stands: entries and bytes held, and look-ups and evictions since it was made."""

    entries: int
    num_bytes: int
    hits: int
    misses: int
    evictions: int


class EmbeddingCache(Generic[T]):
    """Values by key, at most `max_bytes` of them. Safe between threads.

    A value that is larger than the bound alone is not kept. Keys have to say all that a value depends on: an image's
    content, the model and its preprocessing.

    Args:
        max_bytes: the bound; 0 keeps nothing.

    Raises:
        ValueError: the bound is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes: must be at least 0, not {max_bytes}")
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._num_bytes = self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        """The value, which is the most recently used one now; None where it is not held."""
        with self._lock:
            if key not in self._held:
                self._misses += 1
                return None
            self._hits += 1
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: str, value: T, num_bytes: int) -> None:
        """Keep a value of a size in bytes, in place of one with the same key; older ones go to make room."""
        with self._lock:
            if key in self._held:
                self._num_bytes -= self._held.pop(key)[1]
            if num_bytes > self._max_bytes:
                return
            self._held[key] = value, num_bytes
            self._num_bytes += num_bytes
            while self._num_bytes > self._max_bytes:
                _, (_, freed) = self._held.popitem(last=False)
                self._num_bytes -= freed
                self._evictions += 1

    def facts(self) -> CacheFacts:
        """How it stands now."""
        with self._lock:
            return CacheFacts(
                entries=len(self._held),
                num_bytes=self._num_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )
