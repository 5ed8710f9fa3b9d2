"""The queue as a file: an item a row, in the order in which to look, and what was drawn from what."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage

RANDOM, TARGETED = "random", "targeted"
_ABOUT = b"litelvlm.review_queue"
_VERSION = 2

QUEUE_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int32(), nullable=False),  # from 0
        pa.field("record", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),
        pa.field("phrase", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("risk", pa.float32(), nullable=False),  # 1 for what is most likely wrong; an order, no probability
        pa.field("other_iou", pa.float32()),  # with the other run's answer; null without `--compare`, or an answer
        pa.field("part", pa.string(), nullable=False),  # random or targeted
        pa.field("is_base", pa.bool_(), nullable=False),  # of the simple random sample of all answers
        pa.field("stratum", pa.string(), nullable=False),
        pa.field("inclusion_probability", pa.float64(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("image_uri", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """What a queue was drawn from.

    Attributes:
        run: fingerprint of the run.
        seed, where, strata, random_share: as they were asked for.
        compared_with: fingerprint of the run that the risk is beside; None without.
        num_records: how many records people could judge.
        num_answers: of these the model gave an answer to so many; the random part was drawn from them.
        strata_sizes: name of every stratum -> answers in it.
    """

    run: str
    seed: int
    where: str | None
    strata: str
    random_share: float
    num_records: int
    num_answers: int
    strata_sizes: dict[str, int]
    compared_with: str | None = None


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue: a row of `QUEUE_SCHEMA` for each item."""

    items: pa.Table
    facts: QueueFacts

    def to_parquet(self) -> bytes:
        """The file; the same bytes for the same queue."""
        about = json.dumps({"version": _VERSION} | asdict(self.facts), sort_keys=True)
        buffer = io.BytesIO()
        pq.write_table(self.items.replace_schema_metadata({_ABOUT: about}), buffer, compression="zstd")
        return buffer.getvalue()


def read_queue(path: str, options: dict[str, Any]) -> Queue:
    """A queue from its file. Raises ValueError where there is none, or none that this version can read."""
    directory, _, name = path.rpartition("/")
    try:
        data = Storage(directory or ("/" if path.startswith("/") else "."), options).read_bytes(name)
    except FileNotFoundError as error:
        raise ValueError(f"--queue {path}: there is no such file") from error
    try:
        table = read_parquet(data)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
        if about.pop("version") != _VERSION:
            raise ValueError(f"--queue {path}: another version of this program wrote it; make it again")
        return Queue(items=table.select(QUEUE_SCHEMA.names).cast(QUEUE_SCHEMA), facts=QueueFacts(**about))
    except (pa.ArrowException, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"--queue {path}: is no queue of `review.py queue`") from error
