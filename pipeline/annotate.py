"""The actor that holds the model: prepared images in, records with run-length masks out.

Two calls run at once in an actor. A lock keeps the device to one of them; the other encodes masks meanwhile.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.attempts import Guard
from pipeline.baseline import compare_unpruned
from pipeline.engine import Engine
from pipeline.failures import CheckpointError, run_stage
from pipeline.masks import EncodedMask, encode_mask
from pipeline.records import STATUS_EMPTY, STATUS_FAILED, STATUS_OK
from pipeline.storage import Storage
from pipeline.work import Draft, ImageWork, ShardResult, ShardWork

#: Images a call to the model takes. Fixed, so that a shard meets the same batches in every run.
CALL_IMAGES = 16
_KILLED = "this record killed the worker that annotated it, every time"


class AnnotateStage:
    """A callable class for `map_batches(batch_size=1)` on an actor pool."""

    def __init__(self, engine: Engine, storage: Storage, session: str, num_threads: int | None) -> None:
        self._engine = engine
        self._storage = storage
        self._session = session
        self._lock = threading.Lock()
        self._actor = f"{platform.node()}:{os.getpid()}"
        self._annotator: Any = None
        self._load_error: CheckpointError | None = None
        try:
            self._annotator = engine.annotator(num_threads)
        except (ValueError, OSError) as error:
            # Raised by the first call: an actor that dies while it starts would be restarted, and its reason lost.
            self._load_error = CheckpointError(f"{error}")

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(self.annotate_shard, batch)

    def annotate_shard(self, work: ShardWork) -> ShardResult:
        """All records of the shard, in input order. Raises CheckpointError where there is no model."""
        if self._load_error is not None:
            raise self._load_error
        work.seconds["wait"] = max(0.0, time.time() - work.sent_at) if work.sent_at else 0.0
        guard = Guard(
            storage=self._storage,
            session=self._session,
            stage="annotate",
            shard_id=work.shard.shard_id,
            prior_kills=work.prior_kills.get("annotate", 0),
        )
        run = _ShardRun(self._engine, self._annotator, self._lock, work)
        for units, records in guard.run(len(work.images), run.annotate, batch=CALL_IMAGES):
            run.records.extend(run.give_up(units) if records is None else records)
        baseline = compare_unpruned(run.call, work) if work.baseline_rows else None
        return ShardResult(
            shard=work.shard, records=run.records, seconds=work.seconds, facts=self._facts(run, work), baseline=baseline
        )

    def _facts(self, run: _ShardRun, work: ShardWork) -> dict[str, Any]:
        return {
            "images": run.num_images,
            "visual_tokens": run.visual_tokens,
            "retained_tokens": run.retained_tokens,
            "text_tokens": run.text_tokens,
            "bytes_read": work.bytes_read,
            "node": platform.node(),
            "device": str(getattr(self._annotator, "device", "cpu")),
            "actor": self._actor,
        }


class _ShardRun:
    """One shard's way through the model."""

    def __init__(self, engine: Engine, annotator: Any, lock: threading.Lock, work: ShardWork) -> None:
        self.engine, self.annotator, self.lock = engine, annotator, lock
        self.records: list[dict[str, Any]] = []
        self.num_images = self.visual_tokens = self.retained_tokens = self.text_tokens = 0
        self._work = work

    def annotate(self, units: range) -> list[dict[str, Any]]:
        """Records of the shard's images number `units`."""
        records: list[dict[str, Any]] = []
        for start in range(units.start, units.stop, CALL_IMAGES):
            images = self._work.images[start : min(start + CALL_IMAGES, units.stop)]
            asked = [image for image in images if image.prepared is not None and image.prompts]
            results = iter(self.call(asked))
            for image in images:
                result = next(results) if image.prepared is not None and image.prompts else None
                records.extend(self._records(image, result))
        return records

    def give_up(self, units: range) -> list[dict[str, Any]]:
        """Failed records for images that killed their worker."""
        images = [self._work.images[unit] for unit in units]
        for image in images:
            image.fail(_KILLED)
        return [record for image in images for record in self._records(image, None)]

    def call(self, images: list[ImageWork], *, unpruned: bool = False, measured: bool = True) -> list[Any]:
        """Run the model on images, alone on its device. Its stages' seconds are added to the shard's if `measured`."""
        if not images:
            return []
        with self.lock:
            before, started = dict(self.annotator.stage_seconds), time.perf_counter()
            prepared, phrases = [image.prepared for image in images], [image.prompts for image in images]
            results = self.engine.annotate(self.annotator, prepared, phrases, unpruned=unpruned)
            elapsed, after = time.perf_counter() - started, dict(self.annotator.stage_seconds)
        if measured:
            self._add_seconds("annotate", elapsed)
            for stage, seconds in after.items():
                self._add_seconds(stage, seconds - before.get(stage, 0.0))
        return results

    def _records(self, image: ImageWork, result: Any) -> Iterator[dict[str, Any]]:
        masks = self._encoded(result)
        if result is not None:
            self._count(image, result)
        scores = iter(result.scores if result is not None else ())
        for draft in image.drafts:
            if draft.error is not None or result is None:
                yield _record(self._work, image, draft, status=STATUS_FAILED, error=draft.error or "not annotated")
                continue
            mask, score = next(masks), float(next(scores))
            tokens = (result.num_visual_tokens, result.num_retained_tokens, result.num_text_tokens)
            if not 0.0 <= score <= 1.0:  # NaN included
                yield _record(
                    self._work, image, draft, status=STATUS_FAILED, error="the model returned a score that is none"
                )
            elif mask.area == 0:
                yield _record(self._work, image, draft, status=STATUS_EMPTY, score=score, tokens=tokens)
            else:
                yield _record(self._work, image, draft, status=STATUS_OK, score=score, tokens=tokens, mask=mask)

    def _encoded(self, result: Any) -> Iterator[EncodedMask]:
        if result is None:
            return
        masks = iter(result.iter_masks())
        while True:
            started = time.perf_counter()
            mask = next(masks, None)
            if mask is None:
                return
            encoded = encode_mask(mask)
            self._add_seconds("encode", time.perf_counter() - started)
            yield encoded

    def _count(self, image: ImageWork, result: Any) -> None:
        num_prompts = result.num_prompts
        self.num_images += 1
        self.visual_tokens += num_prompts * result.num_visual_tokens
        self.retained_tokens += num_prompts * result.num_retained_tokens
        self.text_tokens += int(result.num_text_tokens)

    def _add_seconds(self, stage: str, seconds: float) -> None:
        self._work.seconds[stage] = self._work.seconds.get(stage, 0.0) + seconds


def _record(
    work: ShardWork,
    image: ImageWork,
    draft: Draft,
    *,
    status: str,
    error: str | None = None,
    score: float | None = None,
    tokens: tuple[int, int, int] | tuple[None, None, None] = (None, None, None),
    mask: EncodedMask | None = None,
) -> dict[str, Any]:
    """One row of `SHARD_SCHEMA`."""
    return {
        "image_id": image.image_id,
        "phrase_index": draft.phrase_index,
        "phrase": draft.phrase,
        "status": status,
        "error": error,
        "file_name": image.file_name,
        "height": image.height,
        "width": image.width,
        "mask_rle": mask.counts if mask else None,
        "bbox_xywh": list(mask.bbox_xywh) if mask else None,
        "area": mask.area if mask else (0 if status == STATUS_EMPTY else None),
        "score": score,
        "num_visual_tokens": tokens[0],
        "num_retained_tokens": tokens[1],
        "num_text_tokens": tokens[2],
        "notes": image.notes,
        "source_file": work.shard.file,
        "source_row": draft.source_row,
        "image_key": image.image_key,
    }
