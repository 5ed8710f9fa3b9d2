"""A row of the table that is made, whatever it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.masks import EncodedMask

_MASK = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("phrases", pa.list_(pa.string())),
    ]
)
MASK_SCHEMA = SCHEMA.append(pa.field("masks", pa.list_(_MASK)))


@dataclass(frozen=True, kw_only=True)
class PreparedRow:
    """An image and what is asked of it.

    Attributes:
        image_id: None where the source has none.
        data: the encoded image; None where it is only named.
        path: its URI, or its path below the image root; beside bytes the name that it had.
        phrases: as the source has them, null ones too: what is wrong with one is for the run to say.
        masks: true masks, one for each phrase, None where there is none; None for a source without any.
    """

    image_id: str | None
    data: bytes | None = None
    path: str | None = None
    phrases: tuple[str | None, ...] = ()
    masks: tuple[EncodedMask | None, ...] | None = None

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        return len(self.data or b"") + sum(len(phrase or "") for phrase in self.phrases) + 100

    def cells(self) -> dict[str, Any]:
        """As a row of `MASK_SCHEMA`."""
        masks = None if self.masks is None else [mask and mask.as_coco() for mask in self.masks]
        return {
            "image_id": self.image_id,
            "image": {"bytes": self.data, "path": self.path},
            "phrases": list(self.phrases),
            "masks": masks,
        }


def to_table(rows: Sequence[PreparedRow], *, has_masks: bool) -> pa.Table:
    """A table of `SCHEMA`, or of `MASK_SCHEMA`."""
    return pa.Table.from_pylist([row.cells() for row in rows], MASK_SCHEMA if has_masks else SCHEMA)
