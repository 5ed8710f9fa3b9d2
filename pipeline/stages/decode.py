"""From the rows of a shard to images and phrases the model takes: read, fetch, decode, check. Runs in CPU tasks.

This is a record boundary: whatever one row holds, the outcome is a record with a reason, never an exception.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy, bare_uri
from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.images.perceptual_hash import perceptual_hash
from litelvlm.pipeline.ontology import Ontology
from litelvlm.pipeline.output.names import safe_file_name
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.shards.manifest import Shard, selected_rows
from litelvlm.pipeline.shards.markers import Marker, find_marker
from litelvlm.pipeline.shards.payload import DoneShard, Draft, ImageWork, ShardTask, ShardWork
from litelvlm.pipeline.shards.read import SourceRow, read_shard
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.rows import InputRow, read_row
from litelvlm.pipeline.table.true_masks import parse_each_mask

_FETCH_THREADS = 8
_MAX_FAILED_PHRASE = 200  # characters of an unusable phrase that a record keeps
_DECODE_UNITS = 16
_NO_CLASS = "phrase: is of no class of the ontology; make it a prompt of one, or name a default"


@dataclass(kw_only=True)
class DecodeStage:
    """A callable for `map_batches(batch_size=1)`: a shard in, its images and phrases out."""

    mapping: ColumnMapping
    engine: Engine
    policy: UriPolicy
    storage: Storage
    session: str
    marker: type[Marker]
    storage_options: dict[str, Any] = field(default_factory=dict)
    sample: float | None = None
    max_pixels: int = 100_000_000
    keep_truncated: bool = False
    ontology: Ontology | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(self._decode, batch)

    def mapping_for(self, tasks: Sequence[ShardTask]) -> ColumnMapping:
        """The columns that are read for shards: no true masks where none is wanted."""
        return self.mapping if any(task.truth_rows != frozenset() for task in tasks) else self.mapping.without_mask()

    def _decode(self, task: ShardTask) -> ShardWork | DoneShard:
        """The shard with its images, or its marker if there is one after all: listings lag."""
        cpu_started = time.process_time()
        marker = find_marker(self.storage, task.shard.shard_id, self.marker)
        if marker is not None:
            return DoneShard(marker=marker)
        guard = Guard(
            storage=self.storage,
            session=self.session,
            stage="decode",
            shard_id=task.shard.shard_id,
            prior_kills=task.prior_kills.get("decode", 0),
        )
        work = self.decode_shard(task, guard)
        work.seconds["decode_cpu"] = time.process_time() - cpu_started
        work.sent_at = time.time()
        return work

    def decode_rows(self, task: ShardTask) -> list[ImageWork]:
        """The shard's images, for who reads it alone: nobody counts what kills a worker."""
        return _ShardDecoder(self, task).decode(range(task.shard.num_rows))

    def decode_shard(self, task: ShardTask, guard: Guard) -> ShardWork:
        """The shard with its images. Rows that kill their worker are given up, see `pipeline.shards.attempts`."""
        decoder = _ShardDecoder(self, task)
        for rows, images in guard.run(task.shard.num_rows, decoder.decode, batch=_DECODE_UNITS):
            decoder.work.images.extend(decoder.give_up(rows) if images is None else images)
        return decoder.work


@dataclass(frozen=True, kw_only=True)
class _Loading:
    """A row whose image is there or on its way."""

    row: int
    given: InputRow
    fetched: Future[bytes] | None = None

    def data(self) -> bytes:
        """The image's bytes; waits for them. Raises FetchError."""
        return self.fetched.result() if self.fetched else self.given.image_bytes or b""


class _ShardDecoder:
    """Decodes ranges of one shard's rows; `stage` says how."""

    def __init__(self, stage: DecodeStage, task: ShardTask) -> None:
        self.work = ShardWork(task=replace(task, read=None), images=[])
        if task.read:
            self._add_seconds("read", task.read.seconds)
        self._stage, self._task = stage, task
        self._fetcher = ImageFetcher(stage.policy, stage.storage_options, retry=stage.storage.retry)
        self._redact = Redactor(stage.storage_options)
        self._preprocessor = stage.engine.preprocessor()
        self._mapping = stage.mapping_for([task])

    def decode(self, rows: range) -> list[ImageWork]:
        """Images of the shard's rows number `rows` (counted within the shard)."""
        stage, shard = self._stage, self._task.shard
        images: list[ImageWork] = []
        read = self._task.read
        source = (
            iter(read.rows)
            if read
            else read_shard(shard, self._mapping, stage.storage_options, sample=stage.sample, retry=stage.storage.retry)
        )
        with ThreadPoolExecutor(_FETCH_THREADS) as pool:
            for loading in self._loaded(_timed(source, self._add_seconds), rows, pool):
                self._append(images, loading)
        return images

    def _add_seconds(self, stage: str, seconds: float) -> None:
        self.work.seconds[stage] = self.work.seconds.get(stage, 0.0) + seconds

    def give_up(self, rows: range) -> list[ImageWork]:
        """Failed records for rows that killed their worker. Their cells are not read again."""
        shard, stage = self._task.shard, self._stage
        numbers = selected_rows(shard.file, shard.row_start, shard.row_stop, stage.sample)
        reason = "this record killed the worker that decoded it, every time"
        lost = ((numbers[position], default_id(shard, numbers[position])) for position in rows)
        return [self._failed(number, _unreadable(image_id, reason), reason) for number, image_id in lost]

    def _loaded(self, source: Iterator[SourceRow], wanted: range, pool: ThreadPoolExecutor) -> Iterator[_Loading]:
        """Rows with their image bytes on the way; a bounded number of fetches run ahead."""
        ahead: list[_Loading] = []
        for position, row in enumerate(source):
            if position >= wanted.stop:
                break
            if position < wanted.start:
                continue
            ahead.append(self._begin_load(row, pool))
            if len(ahead) > _FETCH_THREADS:
                yield ahead.pop(0)
        yield from ahead

    def _begin_load(self, row: SourceRow, pool: ThreadPoolExecutor) -> _Loading:
        image_id = default_id(self._task.shard, row.number)
        if row.error is not None:
            return _Loading(row=row.number, given=_unreadable(image_id, row.error))
        given = read_row(row.cells, self._mapping, default_id=image_id)
        fetched = pool.submit(self._fetcher.fetch, given.image_uri) if given.image_uri and not given.error else None
        return _Loading(row=row.number, given=given, fetched=fetched)

    def _append(self, images: list[ImageWork], loading: _Loading) -> None:
        row, given = loading.row, loading.given
        if given.error is not None:
            images.append(self._failed(row, given, given.error))
            return
        try:
            started = time.perf_counter()
            data = loading.data()
            self._add_seconds("fetch", time.perf_counter() - started)
            self.work.bytes_read += len(data)
            self._add_image(images, row, given, data)
        except StorageError:  # the store's fault, or the credentials': no record may fail for that
            raise
        except (ImageError, FetchError) as error:
            images.append(self._failed(row, given, str(error)))
        except Exception as error:  # noqa: BLE001 - the record boundary
            reason = f"{type(error).__name__}: {error}"
            images.append(self._failed(row, given, reason))

    def _add_image(self, images: list[ImageWork], row: int, given: InputRow, data: bytes) -> None:
        started = time.perf_counter()
        key = image_key(given.image_id, data)
        drafts = [self._draft(row, index, given) for index in range(len(given.phrases))]
        if images and images[-1].image_key == key and images[-1].height is not None and images[-1].width is not None:
            self._add_truths(drafts, row, given, (images[-1].height, images[-1].width))
            images[-1].drafts.extend(drafts)
            return
        needed_size = self._preprocessor.needed_size
        decoded = decode_image(
            data,
            max_pixels=self._stage.max_pixels,
            needed_size=needed_size,
            keep_truncated=self._stage.keep_truncated,
        )
        height, width = decoded.size_hw
        self._add_truths(drafts, row, given, (height, width))
        images.append(
            ImageWork(
                image_id=given.image_id,
                image_key=key,
                file_name=safe_file_name(
                    given.image_id, given.image_uri or given.image_name, data, root=self._stage.policy.image_root
                ),
                uri=_shown_uri(given),
                drafts=drafts,
                height=height,
                width=width,
                notes="; ".join(decoded.notes) or None,
                prepared=self._preprocessor.prepare(decoded.rgb, decoded.size_hw),
                hash=perceptual_hash(decoded.rgb),
            )
        )
        self._add_seconds("decode", time.perf_counter() - started)

    def _add_truths(self, drafts: list[Draft], row: int, given: InputRow, size_hw: tuple[int, int]) -> None:
        """The true masks of a row that is compared with them. One that cannot be read costs no record."""
        if given.mask is None or not self._task.reads_truth_of(row):
            return
        try:
            truths = parse_each_mask(given.mask, size_hw, len(drafts))
        except Exception as error:  # noqa: BLE001 - the record boundary: the record is good without
            truths = [ValueError(f"mask: {type(error).__name__}: {error}")] * len(drafts)
        for draft, truth in zip(drafts, truths, strict=True):
            if isinstance(truth, ValueError):
                draft.truth_error = self._redact(str(truth))
            else:
                draft.truth = truth
        self.work.num_bad_truths += any(draft.truth_error for draft in drafts)

    def _draft(self, row: int, index: int, given: InputRow) -> Draft:
        draft = Draft(source_row=row, phrase_index=index, phrase=given.phrases[index])
        draft.error = given.phrase_errors[index] if given.phrase_errors else None
        self._classify(draft)
        if draft.error is None:
            try:
                draft.prompt = self._stage.engine.check_phrase(self._preprocessor, draft.phrase)
            except ValueError as error:
                draft.error = str(error)
        draft.dropped = self._decided(row, index, given.image_id, draft.phrase)
        if draft.dropped is not None:
            draft.error = None
        if draft.error is not None:
            draft.error = self._redact(draft.error)
            draft.phrase = draft.phrase[:_MAX_FAILED_PHRASE]
        return draft

    def _decided(self, row: int, index: int, image_id: str, phrase: str) -> str | None:
        """Why a phrase is not asked that reviewers have decided; None where they have not, or it was another one."""
        decision = self._task.decided.get(row, {}).get(index)
        if decision is None or (decision.image_id, decision.phrase) != (image_id, phrase):
            return None
        return f"reviewed: {decision.verdict}"

    def _classify(self, draft: Draft) -> None:
        ontology = self._stage.ontology
        if ontology is None or draft.error is not None:
            return
        draft.asks = ontology.find(draft.phrase)
        if draft.asks is None:
            draft.error = _NO_CLASS

    def _failed(self, row: int, given: InputRow, reason: str) -> ImageWork:
        """An image without pixels: a failed record per phrase that is not decided, or one where there is no phrase."""
        reason = self._redact(reason)
        ontology = self._stage.ontology
        drafts = []
        for index, phrase in enumerate(given.phrases or [""]):
            dropped = self._decided(row, index, given.image_id, phrase)
            draft = Draft(
                source_row=row,
                phrase_index=index,
                phrase=phrase[:_MAX_FAILED_PHRASE],
                error=None if dropped else reason,
                asks=ontology.find(phrase) if ontology and phrase else None,
                dropped=dropped,
            )
            drafts.append(draft)
        return ImageWork(
            image_id=given.image_id,
            image_key=image_key(given.image_id, b""),
            file_name=safe_file_name(given.image_id, None, b"", root=None),
            uri=_shown_uri(given),
            drafts=drafts,
        )


def _unreadable(image_id: str, error: str) -> InputRow:
    return InputRow(image_id=image_id, image_bytes=None, image_uri=None, phrases=[], error=error)


def _shown_uri(given: InputRow) -> str | None:
    uri = given.image_uri or given.image_name
    return bare_uri(uri) if uri else None


def default_id(shard: Shard, row: int) -> str:
    """Id of a row that has none: where it comes from."""
    return f"{shard.id_prefix}/{row:09d}"


def image_key(image_id: str, data: bytes) -> str:
    """Identity of an image within a run: its id and its content, 16 hex digits."""
    content = hashlib.blake2b(data, digest_size=16).digest()
    return hashlib.blake2b(image_id.encode() + b"\0" + content, digest_size=8).hexdigest()


def _timed(rows: Iterator[SourceRow], add_seconds: Callable[[str, float], None]) -> Iterator[SourceRow]:
    while True:
        started = time.perf_counter()
        row = next(rows, None)
        add_seconds("read", time.perf_counter() - started)
        if row is None:
            return
        yield row
