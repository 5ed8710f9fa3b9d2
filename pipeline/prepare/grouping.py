"""Bringing the rows of an image together, wherever they are: by hash into files, then file by file.

What a file holds fits in memory: there are as many as the rows' size asks for. An image's phrases come in the order of
the input, and images in the order of their first row within a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow.parquet as pq

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.prepare.pieces import Notes, Piece
from litelvlm.pipeline.prepare.rows import MASK_SCHEMA, PreparedRow, to_table
from litelvlm.pipeline.prepare.write import DONE, Counts, WritePlan, completed, done_name, write_rows
from litelvlm.pipeline.storage.store import Storage

SCATTERED = "_scattered"
_BATCH_ROWS = 64


def scatter(plan: WritePlan, number: int, piece: Piece, num_bins: int) -> Counts:
    """Write the rows of a piece into a file for each bin."""
    name = f"{DONE}/scattered-{number:05d}.json"
    if plan.storage.exists(name):
        return Counts.from_json(plan.storage.read_bytes(name))
    counts, notes = Counts(), Notes()
    bins: dict[int, list[PreparedRow]] = {}
    rows = completed(plan, piece.rows(notes), counts, notes)
    flushed = 0
    num_bytes = 0
    for row in islice(rows, plan.limit):
        bins.setdefault(_bin(row, num_bins), []).append(row)
        num_bytes += row.num_bytes
        counts.rows += 1
        if num_bytes > 256 << 20:
            _flush(plan.storage, number, flushed, bins)
            flushed, num_bytes, bins = flushed + 1, 0, {}
    _flush(plan.storage, number, flushed, bins)
    counts.notes = notes.found
    plan.storage.write_bytes(name, counts.to_json())
    return counts


def gather(plan: WritePlan, number: int) -> Counts:
    """Write the table's part of a bin: a row for each image."""
    name = done_name(number)
    if plan.storage.exists(name):
        return Counts.from_json(plan.storage.read_bytes(name))
    grouped: dict[str, PreparedRow] = {}
    for row in _scattered(plan.storage, number):
        key = image_key(row)
        first = grouped.get(key)
        grouped[key] = row if first is None else _joined(first, row)
    counts = Counts()
    counts.parts = write_rows(plan, f"part-{number:05d}", grouped.values(), counts)
    plan.storage.write_bytes(name, counts.to_json())
    return counts


def image_key(row: PreparedRow) -> str:
    """Equal for rows of one image: by id, else by path, else by bytes."""
    if row.image_id is not None:
        return f"id {row.image_id}"
    return f"path {row.path}" if row.path is not None else f"data {hashlib.sha256(row.data or b'').hexdigest()}"


def _bin(row: PreparedRow, num_bins: int) -> int:
    return int.from_bytes(hashlib.blake2b(image_key(row).encode(), digest_size=8).digest(), "big") % num_bins


def _joined(first: PreparedRow, row: PreparedRow) -> PreparedRow:
    masks = None if first.masks is None else (*first.masks, *(row.masks or ()))
    return PreparedRow(
        image_id=first.image_id,
        data=first.data if first.data is not None else row.data,
        path=first.path if first.path is not None else row.path,
        phrases=(*first.phrases, *row.phrases),
        masks=masks,
    )


def _flush(storage: Storage, number: int, flushed: int, bins: dict[int, list[PreparedRow]]) -> None:
    for bin_number, rows in bins.items():
        with storage.open_write(f"{SCATTERED}/{bin_number:05d}/{number:05d}-{flushed:03d}.parquet") as stream:
            pq.write_table(to_table(rows, has_masks=True), stream, row_group_size=_BATCH_ROWS, compression="zstd")


def _scattered(storage: Storage, number: int) -> Iterator[PreparedRow]:
    for name in storage.list(f"{SCATTERED}/{number:05d}"):
        with storage.open_read(name) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS):
                yield from map(_row, batch.cast(MASK_SCHEMA).to_pylist())


def _row(cells: dict[str, object]) -> PreparedRow:
    image, masks = cells["image"], cells["masks"]
    assert isinstance(image, dict)
    return PreparedRow(
        image_id=cells["image_id"],  # type: ignore[arg-type]
        data=image["bytes"],
        path=image["path"],
        phrases=tuple(cells["phrases"]),  # type: ignore[arg-type]
        masks=None if masks is None else tuple(_masks(masks)),  # type: ignore[arg-type]
    )


def _masks(cells: Iterable[dict[str, object] | None]) -> Iterator[EncodedMask | None]:
    for cell in cells:
        yield None if cell is None else _mask(cell)


def _mask(cell: dict[str, object]) -> EncodedMask:
    size, counts = cell["size"], cell["counts"]
    assert isinstance(size, list)
    # Area and box are not in the table, and nobody asks for them here.
    return EncodedMask(size_hw=(size[0], size[1]), counts=str(counts), area=0, bbox_xywh=(0.0, 0.0, 0.0, 0.0))
