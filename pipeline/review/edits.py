"""`edits.parquet`: what became of every item under reviewers' hands, one row an item; and the history it is made of."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.masks import EncodedMask, mask_iou
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage

EDITS_NAME = "edits.parquet"
HISTORY_DIR = "history"
_CLAIM = "_reviewed.json"
HANDED_IN = "_handed_in"  # beside the columns, while reviews are resolved: which of several ingests a row is of

UNCHANGED, EDITED, REJECTED, ABSENT, ADDED, UNSEEN = "unchanged", "edited", "rejected", "absent", "added", "unseen"
VERDICTS = (UNCHANGED, EDITED, REJECTED, ABSENT, ADDED, UNSEEN)

EDIT_SCHEMA = pa.schema(
    [
        pa.field("record", pa.string()),  # null for a region that began as no record
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("phrase_index", pa.int32()),
        pa.field("phrase", pa.string()),
        pa.field("category", pa.string()),
        pa.field("status", pa.string()),  # of the record in the run
        pa.field("score", pa.float32()),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("iou", pa.float64()),  # of the run's mask and the reviewed one; null where nobody looked
        pa.field("boundary_f", pa.float64()),
        pa.field("changed_pixels", pa.int64()),
        pa.field("is_lossy", pa.bool_(), nullable=False),  # the tool hands back outlines: small changes do not show
        pa.field("mask_rle", pa.string()),  # reviewed; null where there is none
        pa.field("area", pa.int64()),
        pa.field("bbox_xywh", pa.list_(pa.float64())),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("source_file", pa.string()),
        pa.field("source_row", pa.int64()),
        pa.field("reviewer", pa.string()),
        pa.field("reviewed_at", pa.float64()),  # seconds since the epoch
        pa.field("lead_time_s", pa.float64()),  # spent on the whole image
        pa.field("num_reviews", pa.int32(), nullable=False),
        pa.field("agreement", pa.float64()),  # mean IoU of the reviewed masks, pair by pair; null for a single review
    ]
)

Row = dict[str, Any]
_NUMBERED = re.compile(r"/(\d+)-[0-9a-f]+\.parquet$")


def add_reviews(storage: Storage, run: str, rows: Sequence[Row], resolve: str) -> list[Row]:
    """Keep what reviewers did, beside what is there already, and write `edits.parquet` of it all. Returns its rows.

    What is the same as something kept before counts once. Nothing is ever removed: a file of the history has a number,
    one more than the last, and the hash of its content for a name, and one of a content that is there is not written
    again.

    Raises:
        ValueError: the directory holds reviews of another run.
        DataError: a file of it is damaged.
    """
    _claim(storage, run)
    data = _parquet(rows)
    names, digest = _history_names(storage), hashlib.sha256(data).hexdigest()[:16]
    if not any(name.endswith(f"-{digest}.parquet") for name in names):
        number = 1 + max((int(one[1]) for name in names if (one := _NUMBERED.search(name))), default=0)
        storage.write_bytes(f"{HISTORY_DIR}/{number:06d}-{digest}.parquet", data)
    edits = resolved(_history(storage), resolve)
    storage.write_bytes(EDITS_NAME, _parquet(edits))
    return edits


def read_all_edits(path: str, options: dict[str, Any]) -> list[Row]:
    """The rows of `edits.parquet` in a directory, whatever run they are of. Raises ValueError where there is none."""
    try:
        return _rows(Storage(path, options).read_bytes(EDITS_NAME), EDITS_NAME)
    except FileNotFoundError as error:
        raise ValueError(f"--skip-reviewed {path}: there is no {EDITS_NAME}; `review.py ingest` writes it") from error


def read_edits(storage: Storage, run: str) -> list[Row]:
    """The rows of `edits.parquet`. Raises ValueError where there is none, or of another run."""
    try:
        data, claim = storage.read_bytes(EDITS_NAME), storage.read_bytes(_CLAIM)
    except FileNotFoundError as error:
        raise ValueError(
            f"--reviewed {storage.root}: there is no {EDITS_NAME}; `review.py ingest` writes it"
        ) from error
    if json.loads(claim)["run"] != run:
        raise ValueError(f"--reviewed {storage.root}: holds reviews of another run")
    return _rows(data, EDITS_NAME)


def resolved(rows: Iterable[Row], resolve: str) -> list[Row]:
    """One row an item, in order of images and phrases: the newest review, or the newest of those with
    the verdict that most reviewers have; of equally many the newest. Of reviews without a time the last given is the
    newest. What a reviewer has drawn beside the records is what the last of their reviews of the image holds."""
    by_item: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in _last_additions(list(rows)):
        by_item[_item(row)].append(row)
    found = [_resolved(_distinct(reviews), resolve) for reviews in by_item.values()]
    for row in found:
        row.pop(HANDED_IN, None)
    return sorted(found, key=lambda row: (row["source_file"] or "", row["source_row"] or 0, row["phrase_index"] or 0))


def _last_additions(rows: list[Row]) -> list[Row]:
    """Without what a reviewer added to an image in an earlier review: moved or removed since, it would be there twice,
    or still."""
    last: dict[tuple[Any, ...], tuple[float, int]] = {}
    for row in rows:
        if row["verdict"] != UNSEEN:
            whose = _reviewed_by(row)
            last[whose] = max(last.get(whose, (0.0, 0)), _moment(row))
    return [row for row in rows if row["record"] or _moment(row) == last[_reviewed_by(row)]]


def _reviewed_by(row: Row) -> tuple[Any, ...]:
    return row["image_id"], row["file_name"], row["reviewer"]


def _moment(row: Row) -> tuple[float, int]:
    """When it was reviewed, and, where nobody knows, when it was handed in."""
    return (row["reviewed_at"], 0) if row["reviewed_at"] else (0.0, row.get(HANDED_IN, 0))


def _resolved(reviews: list[Row], resolve: str) -> Row:
    seen = [row for row in reviews if row["verdict"] != UNSEEN]
    if not seen:
        return reviews[-1] | {"num_reviews": 0}
    newest = sorted(enumerate(seen), key=lambda pair: (pair[1]["reviewed_at"] or 0.0, pair[0]))
    ordered = [row for _, row in newest]
    chosen = ordered[-1]
    if resolve == "majority":
        counts: dict[str, int] = defaultdict(int)
        for row in ordered:
            counts[row["verdict"]] += 1
        most = max(counts.values())
        chosen = [row for row in ordered if counts[row["verdict"]] == most][-1]
    return chosen | {"num_reviews": len(seen), "agreement": _agreement(seen)}


def _agreement(rows: list[Row]) -> float | None:
    if len(rows) < 2:
        return None
    pairs = list(itertools.combinations(rows, 2))
    return sum(_iou(first, second) for first, second in pairs) / len(pairs)


def _iou(first: Row, second: Row) -> float:
    if not first["mask_rle"] or not second["mask_rle"]:
        return float(not first["mask_rle"] and not second["mask_rle"])
    return mask_iou(mask_of(first), mask_of(second))


def mask_of(row: Row) -> EncodedMask:
    """The mask of a row that has one, of an edit or of a record."""
    return EncodedMask(
        size_hw=(row["height"], row["width"]),
        counts=row["mask_rle"],
        area=row["area"],
        bbox_xywh=tuple(row["bbox_xywh"]),
    )


def _item(row: Row) -> tuple[Any, ...]:
    """Additions are items by what was drawn."""
    return (row["record"],) if row["record"] else ("added", row["image_id"], row["file_name"], row["mask_rle"])


def _distinct(rows: list[Row]) -> list[Row]:
    """Without what is the same review of the same item, read again."""
    keys = ("verdict", "mask_rle", "reviewer", "reviewed_at")
    return list({tuple(row[key] for key in keys): row for row in rows}.values())


def _claim(storage: Storage, run: str) -> None:
    try:
        there = json.loads(storage.read_bytes(_CLAIM))
    except FileNotFoundError:
        there = None
        if names := storage.whole_files():
            raise ValueError(f"--output {storage.root}: holds something else, such as {names[0]}") from None
    except ValueError as error:
        raise DataError(f"{_CLAIM} is damaged") from error
    if there is not None and there != {"run": run}:
        raise ValueError(f"--output {storage.root}: holds reviews of another run; choose another directory")
    storage.write_bytes(_CLAIM, json.dumps({"run": run}).encode() + b"\n")


def _history(storage: Storage) -> Iterable[Row]:
    for number, name in enumerate(_history_names(storage)):
        yield from (row | {HANDED_IN: number} for row in _rows(storage.read_bytes(name), name))


def _history_names(storage: Storage) -> list[str]:
    """The oldest first; without what a writer that died has left."""
    return [name for name in storage.list(HISTORY_DIR) if name.endswith(".parquet")]


def _rows(data: bytes, name: str) -> list[Row]:
    try:
        return read_parquet(data).select(EDIT_SCHEMA.names).to_pylist()
    except (pa.ArrowException, KeyError) as error:
        raise DataError(f"{name} is damaged: {error}") from error


def _parquet(rows: Sequence[Row]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=EDIT_SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()
