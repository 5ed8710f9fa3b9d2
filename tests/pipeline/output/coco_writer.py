"""COCO parts from calls, image by image, as the merge makes them shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from litelvlm.pipeline.output.coco import (
    MAX_PART_BYTES,
    CocoAnnotation,
    CocoLayout,
    encode_annotations,
    numbered,
    part_head,
    part_name,
    write_part,
)


@dataclass(frozen=True, kw_only=True)
class CocoSummary:
    """What was written. `num_empty_masks` were left out on purpose; their images keep their entries."""

    parts: int
    images: int
    annotations: int
    num_empty_masks: int


class CocoWriter:
    """Streams images into ``part-00000.json``, ``part-00001.json``, …

    A part is buffered, encoded, so memory is bounded by one; see `CocoLayout`. There is always at least one part, if
    only an empty one.

    `open_part` gets a part's name and returns a stream, which is closed when the part is complete.
    """

    def __init__(
        self,
        open_part: Callable[[str], BinaryIO],
        *,
        max_part_bytes: int = MAX_PART_BYTES,
        info: dict[str, Any] | None = None,
    ) -> None:
        self._open_part = open_part
        self._head = part_head(info)
        self._layout = CocoLayout(max_part_bytes, self._head)
        self._images: list[bytes] = []
        self._annotations: list[bytes] = []
        self._num_parts = self._num_empty_masks = 0
        self._summary: CocoSummary | None = None

    def add_image(self, *, file_name: str, height: int, width: int, annotations: Sequence[CocoAnnotation]) -> None:
        """Add an image, upright size in pixels, with all of its annotations. Ids are given in the order of the calls.

        Raises ValueError as `CocoLayout.place` and `encode_annotations` do.
        """
        if self._summary is not None:
            raise ValueError("add_image: the writer is closed")
        encoded = encode_annotations(annotations, height, width)
        place = self._layout.place(file_name=file_name, height=height, width=width, sizes=[len(one) for one in encoded])
        if place.begins_part:
            self._write_part()
        self._images.append(place.entry)
        self._annotations.extend(numbered(place, encoded))
        self._num_empty_masks += len(annotations) - len(encoded)

    def close(self) -> CocoSummary:
        """Write what is left. Calling it again changes nothing."""
        if self._summary is None:
            if self._images or self._num_parts == 0:
                self._write_part()
            self._summary = CocoSummary(
                parts=self._num_parts,
                images=self._layout.num_images,
                annotations=self._layout.num_annotations,
                num_empty_masks=self._num_empty_masks,
            )
        return self._summary

    def _write_part(self) -> None:
        with self._open_part(part_name(self._num_parts)) as stream:
            write_part(stream, self._head, self._images, self._annotations)
        self._num_parts += 1
        self._images, self._annotations = [], []
