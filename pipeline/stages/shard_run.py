"""One shard's way through the model: images in, records out.

Where the model raises, the call is repeated in halves until the phrases at fault stand alone; they fail, all others are
annotated. An error that a blank image meets as well is the model's own and is raised.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.masks import EncodedMask, encode_answers
from litelvlm.pipeline.ontology import OBJECT, Category, Ontology
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.schemas import STATUS_ABSENT, STATUS_DROPPED, STATUS_EMPTY, STATUS_FAILED, STATUS_OK
from litelvlm.pipeline.shards.manifest import Shard, record_key
from litelvlm.pipeline.shards.payload import Answer, Draft, ImageWork, ShardWork
from litelvlm.pipeline.stages.engine import Annotated, Engine, device_is_broken
from litelvlm.pipeline.stages.mask_signals import fill_overlaps, mask_shape
from litelvlm.pipeline.stages.suppress import suppress
from litelvlm.pipeline.stages.timed_model import Asked, ModelCall, TimedModel

if TYPE_CHECKING:
    from litelvlm import AnnotationResult

#: Most images and phrases that one call to the model takes. Fixed, so that a shard meets the same batches in every run.
CALL_IMAGES = 32
CALL_PHRASES = 256
MODEL_SIGNALS = ("seg_probability", "clip_similarity", "absent_probability")  # by --signals, or the model's own
#: Columns that are filled from an answer, or from all of its image when they are there (`mask_signals`).
MASK_SIGNALS = ("overlap", "num_equal", "components", "holes", "area_share", "borders", *MODEL_SIGNALS)
_KILLED = "this record killed the worker that annotated it, every time"
_BLANK_SIZE_HW, _BLANK_PHRASE = (64, 64), "object"
_NO_SCORE = "the model returned a score that is no number from 0 to 1"

_EXIT_BROKEN_DEVICE = 70


class ShardRun:
    """Annotates images of one shard and adds up what it took. Answers are put on the drafts that asked.

    `model` keeps the device to one call at a time; masks are encoded outside it. `seconds` are those of the model's
    stages and of encoding.
    """

    def __init__(self, engine: Engine, model: TimedModel, work: ShardWork, ontology: Ontology | None = None) -> None:
        self.done = Annotated()
        self.seconds: dict[str, float] = {}
        self._engine, self._model, self._work = engine, model, work
        self._ontology = ontology
        self._model_works = False

    def annotate(self, units: range) -> list[dict[str, Any]]:
        """Records of the shard's images number `units`."""
        starts = range(units.start, units.stop, CALL_IMAGES)
        parts = [self._work.images[start : min(start + CALL_IMAGES, units.stop)] for start in starts]
        self._ask_each([asked for images in parts for asked in model_calls(images)])
        return [record for images in parts for record in self._records(images)]

    def give_up(self, units: range) -> list[dict[str, Any]]:
        """Failed records for images that killed their worker."""
        images = [self._work.images[unit] for unit in units]
        for image in images:
            image.fail(_KILLED)
        return self._records(images)

    def compare(self, records: list[dict[str, Any]]) -> None:
        """Fill the signals of the shard's records that compare the masks of an image."""
        started = time.perf_counter()
        fill_overlaps(records)
        self._add_seconds("encode", time.perf_counter() - started)

    def _ask_each(self, calls: list[list[Asked]]) -> None:
        """Ask one call after another; from the first that fails on, each by itself."""
        num_answered = 0
        try:
            with closing(self._model.each(calls)) as found:
                for asked, call in zip(calls, found, strict=True):
                    self._take(asked, call)
                    num_answered += 1
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - asked again below, where what is at fault is found
            if device_is_broken(error):
                _leave_process(error)
        for asked in calls[num_answered:]:
            self._ask(asked)
        self.done = replace(self.done, images=self.done.images + sum(map(len, calls)))

    def _ask(self, asked: list[Asked]) -> None:
        """Get an answer for every draft of a call; a phrase that the model cannot take gets its reason instead."""
        try:
            self._take(asked, self._model.call(asked))
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - the record boundary
            if device_is_broken(error):
                _leave_process(error)
            failure = error
        else:
            return
        if halves := _halves(asked):
            for half in halves:
                self._ask(half)
            return
        self._check_model(failure)
        asked[0].drafts[0].error = _reason(failure)

    def _take(self, asked: list[Asked], call: ModelCall) -> None:
        """Put the answers of a call on the drafts that asked, and count what it took."""
        for stage, seconds in call.stage_seconds.items():
            self._add_seconds(stage, seconds)
        self.done = replace(
            self.done,
            prompts=self.done.prompts + sum(result.num_prompts for result in call.results),
            phrases=self.done.phrases + sum(len(one.drafts) for one in asked),
        )
        answers = [list(self._answers(result)) for result in call.results]
        self._count(call.results)
        for one, found in zip(asked, answers, strict=True):
            for draft, answer in zip(one.drafts, found, strict=True):
                draft.answer = answer
                if not 0.0 <= answer.score <= 1.0:  # NaN included
                    draft.error = _NO_SCORE

    def _count(self, results: list[AnnotationResult]) -> None:
        self._model_works = True
        self.done = replace(
            self.done,
            visual_tokens=self.done.visual_tokens + sum(one.num_prompts * one.num_visual_tokens for one in results),
            retained_tokens=self.done.retained_tokens
            + sum(one.num_prompts * one.num_retained_tokens for one in results),
            text_tokens=self.done.text_tokens + sum(int(one.num_text_tokens) for one in results),
        )

    def _check_model(self, error: Exception) -> None:
        """Raise the error unless the model has answered in this shard, or answers to a blank image."""
        if self._model_works:
            return
        blank = self._engine.preprocessor().prepare(np.full((*_BLANK_SIZE_HW, 3), 128, dtype=np.uint8))
        try:
            with self._model.device.hold("annotate"):
                self._engine.annotate(self._model.annotator, [blank], [[_BLANK_PHRASE]])
        except Exception:  # noqa: BLE001 - whatever it is, the first error is the one to tell
            raise error from None
        self._model_works = True

    def _answers(self, result: AnnotationResult) -> Iterator[Answer]:
        started = time.perf_counter()
        absent = [False] * len(result.scores) if result.absent is None else result.absent
        masks = encode_answers(result), result.run_lengths, result.scores, _asked_signals(result), absent
        for mask, lengths, score, asked, is_absent in zip(*masks, strict=True):
            yield Answer(
                mask=mask,
                score=float(score),
                num_visual_tokens=result.num_visual_tokens,
                num_retained_tokens=result.num_retained_tokens,
                signals=asked | _signals(mask, lengths),
                is_absent=bool(is_absent),
            )
        self._add_seconds("encode", time.perf_counter() - started)

    def _add_seconds(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def _records(self, images: Sequence[ImageWork]) -> list[dict[str, Any]]:
        default = None if self._ontology else OBJECT
        if self._ontology:
            for image in images:
                suppress(image.drafts, self._ontology.same_object_iou)
        return [_record(self._work.shard, image, draft, default) for image in images for draft in image.drafts]


def _asked_signals(result: AnnotationResult) -> Iterator[dict[str, float | int | None]]:
    """The columns of `RECORD_SCHEMA` that the model fills for each phrase if it is asked; None where it has no say."""
    columns = {name: getattr(result, name) for name in MODEL_SIGNALS}
    for place in range(len(result.scores)):
        found = {name: float(values[place]) for name, values in columns.items() if values is not None}
        yield {name: value if math.isfinite(value) else None for name, value in found.items()}


def _signals(mask: EncodedMask, lengths: NDArray[np.int64]) -> dict[str, float | int | None]:
    """The columns of `RECORD_SCHEMA` that say something of this mask alone; none where it is empty."""
    if not mask.area:
        return {}
    height, width = mask.size_hw
    return {"area_share": mask.area / (height * width), **mask_shape(lengths, mask)._asdict()}


def _halves(asked: list[Asked]) -> tuple[list[Asked], list[Asked]] | None:
    """The images of a call in halves, or the phrases of its only image; None for a single phrase."""
    if len(asked) > 1:
        middle = len(asked) // 2
        return asked[:middle], asked[middle:]
    drafts = asked[0].drafts
    if len(drafts) < 2:
        return None
    middle = len(drafts) // 2
    return [replace(asked[0], drafts=drafts[:middle])], [replace(asked[0], drafts=drafts[middle:])]


def _reason(error: Exception) -> str:
    return Redactor({})(f"the model failed on this record: {type(error).__name__}: {error}")


def _leave_process(error: Exception) -> None:
    """End this worker: nothing works on a device in this state, and the next worker counts the attempt as a death."""
    print(f"the device is broken: {error}", file=sys.stderr, flush=True)
    os._exit(_EXIT_BROKEN_DEVICE)


def model_calls(images: Iterable[ImageWork]) -> Iterator[list[Asked]]:
    """Group images with their phrases into calls of at most `CALL_IMAGES` images and `CALL_PHRASES` phrases, in order.

    An image is never split, so that it is encoded once: one with more phrases than that is a call of its own. Images
    without a usable phrase are left out.
    """
    group: list[Asked] = []
    num_phrases = 0
    for image in images:
        drafts = image.asked
        if not drafts:
            continue
        if group and (len(group) == CALL_IMAGES or num_phrases + len(drafts) > CALL_PHRASES):
            yield group
            group, num_phrases = [], 0
        group.append(Asked(image=image, drafts=drafts))
        num_phrases += len(drafts)
    if group:
        yield group


def _record(shard: Shard, image: ImageWork, draft: Draft, default: Category | None) -> dict[str, Any]:
    """One row of `SHARD_SCHEMA`. `default` is the class of a phrase that is of none."""
    answer = draft.answer if draft.error is None else None
    assert answer or draft.error or draft.dropped, "a draft that was asked has an answer or a reason"
    mask = answer.mask if answer and answer.mask.area else None
    category = draft.asks.category if draft.asks else default
    return {
        "record": record_key(shard, draft.source_row, draft.phrase_index),
        "image_id": image.image_id,
        "phrase_index": draft.phrase_index,
        "phrase": draft.phrase,
        "category_id": category and category.id,
        "category": category and category.name,
        "status": _status(draft, mask),
        "error": draft.error,
        "dropped": draft.dropped,
        "file_name": image.file_name,
        "image_uri": image.uri,
        "height": image.height,
        "width": image.width,
        "mask_rle": mask.counts if mask else None,
        "bbox_xywh": list(mask.bbox_xywh) if mask else None,
        "area": answer.mask.area if answer else None,
        "score": answer.score if answer and mask else None,
        "num_visual_tokens": answer.num_visual_tokens if answer else None,
        "num_retained_tokens": answer.num_retained_tokens if answer else None,
        "notes": image.notes,
        "source_file": shard.file,
        "source_row": draft.source_row,
        "image_hash": image.hash,
        "agreement": draft.agreement if answer else None,
        "image_key": image.image_key,
    } | {name: answer.signals.get(name) if answer else None for name in MASK_SIGNALS}


def _status(draft: Draft, mask: EncodedMask | None) -> str:
    if draft.error is not None:
        return STATUS_FAILED
    if draft.dropped is not None:
        return STATUS_DROPPED
    if draft.answer is not None and draft.answer.is_absent:
        return STATUS_ABSENT
    return STATUS_OK if mask else STATUS_EMPTY
