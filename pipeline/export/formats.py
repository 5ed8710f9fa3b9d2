"""What every format is: files of each part, files of all, and what is to be told of the whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ClassVar, Self

from litelvlm.pipeline.export.run_images import MaskedImage
from litelvlm.pipeline.ontology import Category
from litelvlm.pipeline.storage.store import Storage

Images = Iterable[MaskedImage]
_WRITERS = 8  # threads, where a store is far away


class Files:
    """The files of an export; small ones are written to a store beside each other."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._pool = None if storage.local else ThreadPoolExecutor(_WRITERS)
        self._begun: list[object] = []

    def write(self, name: str, data: bytes) -> None:
        """Write a file, now or soon."""
        if self._pool is None:
            self.storage.write_bytes(name, data)
            return
        self._begun.append(self._pool.submit(self.storage.write_bytes, name, data))
        if len(self._begun) >= 4 * _WRITERS:
            self._wait()

    def _wait(self) -> None:
        for one in self._begun:
            one.result()  # type: ignore[attr-defined]
        self._begun = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._pool is not None:
            try:
                if kind is None:
                    self._wait()
            finally:
                self._pool.shutdown(cancel_futures=True)


class Format(ABC):
    """A format. Picklable: its parts are written in tasks.

    `unique_stems`: it goes by names of images without extension, in any case, so that these are made unique.
    """

    unique_stems: ClassVar[bool] = False

    def __init__(self, classes: tuple[Category, ...], *, tolerance: float, with_images: bool) -> None:
        self.classes, self.tolerance, self.with_images = classes, tolerance, with_images

    def check(self) -> None:
        """Raises ValueError where the classes or what is installed do not serve."""
        return None

    @abstractmethod
    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        """The files of a part, by its name without extension. Returns counts, for `remarks`; those of images and
        objects are made elsewhere."""

    def finish(self, parts: list[str], files: Files) -> None:
        """The files of all parts together."""
        return None

    def remarks(self, counts: Counter[str]) -> list[str]:
        """What is to be told, a line each."""
        return []
