"""What reviewers did, back from their tools: read, put to the run's records, kept."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import MISTAKES, StorageError, UsageError
from litelvlm.pipeline.review.compare import compare, unseen
from litelvlm.pipeline.review.config import IngestConfig
from litelvlm.pipeline.review.edits import VERDICTS, Row, add_reviews
from litelvlm.pipeline.review.find_images import RunImages
from litelvlm.pipeline.review.queue_table import read_queue
from litelvlm.pipeline.review.readers.open import read_reviews
from litelvlm.pipeline.review.reviewed import ReviewedImage
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage

PROBLEMS_NAME = "problems.parquet"
_TOLD = 20  # problems that are printed
_PROBLEM_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("place", "problem")])
Problem = tuple[str, str]  # where, and what


def ingest(config: IngestConfig, say: Callable[[str], None]) -> list[Row]:
    """Read what reviewers handed back and write `edits.parquet`. Returns its rows.

    Raises:
        UsageError: there is no run, a file is no review, or contradicts the run (without `partial`).
        DataError, StorageError: the run or the reviews are damaged, or a store failed.
    """
    output, problems = Storage(config.output, config.storage_options), list[Problem]()
    try:
        records = RunRecords(Storage(config.run, config.storage_options))
        images = list(_read(config, problems))
        rows = list(_compared(records, images, config, problems))
        edits = add_reviews(output, records.saved.fingerprint, rows, config.resolve)
    except StorageError:
        raise
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    _tell_problems(problems, output, say)
    counts = Counter(row["verdict"] for row in edits)
    told = ", ".join(f"{counts[one]} {one}" for one in VERDICTS if counts[one]) or "nothing"
    say(f"done: {len(edits)} items ({told}) in {output.path('edits.parquet')}")
    return edits


def _read(config: IngestConfig, problems: list[Problem]) -> Iterator[ReviewedImage]:
    for path in config.sources:
        try:
            yield from read_reviews([path], config.format, options=config.storage_options)
        except StorageError:
            raise
        except ValueError as error:
            _refuse(config, problems, path, str(error))


def _compared(
    records: RunRecords, images: list[ReviewedImage], config: IngestConfig, problems: list[Problem]
) -> Iterator[Row]:
    run, seen = RunImages(records, images), set[str]()
    for image in images:
        try:
            edits = compare(image, run.by_key[run.find(image)])
        except ValueError as error:
            _refuse(config, problems, image.place, f"{image.file_name}: {error}")
            continue
        seen.update(edit["record"] for edit in edits if edit["record"])
        yield from edits
    if config.queue is not None:
        queue = read_queue(config.queue, config.storage_options)
        if queue.facts.run != records.saved.fingerprint:
            raise ValueError(f"--queue {config.queue}: was made for another run")
        yield from (unseen(row) for row in queue.items.to_pylist() if row["record"] not in seen)


def _refuse(config: IngestConfig, problems: list[Problem], place: str, problem: str) -> None:
    if not config.partial:
        raise ValueError(f"{problem if problem.startswith(place) else f'{place}: {problem}'}")
    problems.append((place, problem))


def _tell_problems(problems: list[Problem], output: Storage, say: Callable[[str], None]) -> None:
    if not problems:
        output.delete([PROBLEMS_NAME])
        return
    buffer = io.BytesIO()
    rows = [dict(zip(_PROBLEM_SCHEMA.names, one, strict=True)) for one in problems]
    pq.write_table(pa.Table.from_pylist(rows, schema=_PROBLEM_SCHEMA), buffer)
    output.write_bytes(PROBLEMS_NAME, buffer.getvalue())
    for place, problem in problems[:_TOLD]:
        say(f"left out: {problem if problem.startswith(place) else f'{place}: {problem}'}")
    if len(problems) > _TOLD:
        say(f"and {len(problems) - _TOLD} more, in {output.path(PROBLEMS_NAME)}")
