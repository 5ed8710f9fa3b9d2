"""One shard's way through the model: images in, records out.

Where the model raises, the call is repeated in halves until the phrases at fault stand alone; they fail, all others are
annotated. An error that a blank image meets as well is the model's own and is raised.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.masks import EncodedMask, encode_answers
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.schemas import STATUS_EMPTY, STATUS_FAILED, STATUS_OK
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardWork
from litelvlm.pipeline.stages.engine import Engine, device_is_broken
from litelvlm.pipeline.stages.timed_model import Asked, TimedModel

#: Most images and phrases that one call to the model takes. Fixed, so that a shard meets the same batches in every run.
CALL_IMAGES = 32
CALL_PHRASES = 256
_KILLED = "this record killed the worker that annotated it, every time"
_BLANK_SIZE_HW, _BLANK_PHRASE = (64, 64), "object"
_NO_SCORE = "the model returned a score that is no number from 0 to 1"

_EXIT_BROKEN_DEVICE = 70


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says to one phrase."""

    mask: EncodedMask
    score: float
    num_visual_tokens: int
    num_retained_tokens: int


class ShardRun:
    """Annotates images of one shard and adds up what it took.

    `model` keeps the device to one call at a time; masks are encoded outside it.
    """

    def __init__(self, engine: Engine, model: TimedModel, work: ShardWork) -> None:
        self.records: list[dict[str, Any]] = []
        self.num_images = self.num_prompts = self.num_asked = 0
        self.visual_tokens = self.retained_tokens = self.text_tokens = 0
        self._engine, self._model, self._work = engine, model, work
        self._annotator, self._lock = model.annotator, model.device
        self._model_works = False

    def annotate(self, units: range) -> list[dict[str, Any]]:
        """Records of the shard's images number `units`."""
        records: list[dict[str, Any]] = []
        for start in range(units.start, units.stop, CALL_IMAGES):
            images = self._work.images[start : min(start + CALL_IMAGES, units.stop)]
            answers = self._answers(images)
            for image in images:
                records.extend(self._records(image, iter(answers.get(id(image), ()))))
        return records

    def give_up(self, units: range) -> list[dict[str, Any]]:
        """Failed records for images that killed their worker."""
        images = [self._work.images[unit] for unit in units]
        for image in images:
            image.fail(_KILLED)
        return [record for image in images for record in self._records(image, iter(()))]

    def call(self, asked: list[Asked]) -> list[Any]:
        """Run the model, alone on its device. Its stages' seconds are added to the shard's."""
        done = self._model.call(asked)
        for stage, seconds in done.stage_seconds.items():
            self._work.add_seconds(stage, seconds)
        self.num_prompts += sum(result.num_prompts for result in done.results)
        self.num_asked += sum(len(part) for _, part in asked)
        return done.results

    def _answers(self, images: list[ImageWork]) -> dict[int, list[Answer | str]]:
        """The answers to every image's prompts, or why there is none, by the image's identity in memory."""
        answers: dict[int, list[Answer | str]] = {}
        for asked in model_calls(images):
            for image, outcomes in self._outcomes(asked):
                if id(image) not in answers:
                    self.num_images += 1
                    answers[id(image)] = []
                answers[id(image)].extend(outcomes)
        return answers

    def _outcomes(self, asked: list[Asked]) -> list[tuple[ImageWork, list[Answer | str]]]:
        """Answers to every part of a call, in order; a phrase that the model cannot take has its reason instead."""
        try:
            results = self.call(asked)
            outcomes = [list[Answer | str](self._encoded(result)) for result in results]
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - the record boundary
            if device_is_broken(error):
                _leave_process(error)
            failure = error
        else:
            self._count(results)
            return [(image, found) for (image, _), found in zip(asked, outcomes, strict=True)]
        halves = _halves(asked)
        if halves:
            return [outcome for half in halves for outcome in self._outcomes(half)]
        self._check_model(failure)
        return [(asked[0][0], [_reason(failure)])]

    def _count(self, results: list[Any]) -> None:
        self._model_works = True
        for result in results:
            self.visual_tokens += result.num_prompts * result.num_visual_tokens
            self.retained_tokens += result.num_prompts * result.num_retained_tokens
            self.text_tokens += int(result.num_text_tokens)

    def _check_model(self, error: Exception) -> None:
        """Raise the error unless the model has answered in this shard, or answers to a blank image."""
        if self._model_works:
            return
        blank = self._engine.preprocessor().prepare(np.full((*_BLANK_SIZE_HW, 3), 128, dtype=np.uint8))
        try:
            with self._lock:
                self._engine.annotate(self._annotator, [blank], [[_BLANK_PHRASE]])
        except Exception:  # noqa: BLE001 - whatever it is, the first error is the one to tell
            raise error from None
        self._model_works = True

    def _encoded(self, result: Any) -> Iterator[Answer]:
        started = time.perf_counter()
        for mask, score in zip(encode_answers(result), result.scores, strict=True):
            yield Answer(
                mask=mask,
                score=float(score),
                num_visual_tokens=result.num_visual_tokens,
                num_retained_tokens=result.num_retained_tokens,
            )
        self._work.add_seconds("encode", time.perf_counter() - started)

    def _records(self, image: ImageWork, answers: Iterator[Answer | str]) -> Iterator[dict[str, Any]]:
        for draft in image.drafts:
            answer = next(answers) if draft.error is None else draft.error
            if isinstance(answer, str):
                draft.error = answer
                yield _record(self._work, image, draft, status=STATUS_FAILED, error=answer)
            elif not 0.0 <= answer.score <= 1.0:  # NaN included
                yield _record(self._work, image, draft, status=STATUS_FAILED, error=_NO_SCORE)
            else:
                status = STATUS_OK if answer.mask.area else STATUS_EMPTY
                yield _record(self._work, image, draft, status=status, answer=answer)


def _halves(asked: list[Asked]) -> tuple[list[Asked], list[Asked]] | None:
    """The images of a call in halves, or the phrases of its only image; None for a single phrase."""
    if len(asked) > 1:
        middle = len(asked) // 2
        return asked[:middle], asked[middle:]
    image, prompts = asked[0]
    if len(prompts) < 2:
        return None
    middle = len(prompts) // 2
    return [(image, prompts[:middle])], [(image, prompts[middle:])]


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
        prompts = image.prompts if image.prepared is not None else []
        if not prompts:
            continue
        if group and (len(group) == CALL_IMAGES or num_phrases + len(prompts) > CALL_PHRASES):
            yield group
            group, num_phrases = [], 0
        group.append((image, prompts))
        num_phrases += len(prompts)
    if group:
        yield group


def _record(
    work: ShardWork,
    image: ImageWork,
    draft: Draft,
    *,
    status: str,
    error: str | None = None,
    answer: Answer | None = None,
) -> dict[str, Any]:
    """One row of `SHARD_SCHEMA`."""
    mask = answer.mask if answer and status == STATUS_OK else None
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
        "area": answer.mask.area if answer else None,
        "score": answer.score if answer else None,
        "num_visual_tokens": answer.num_visual_tokens if answer else None,
        "num_retained_tokens": answer.num_retained_tokens if answer else None,
        "notes": image.notes,
        "source_file": work.shard.file,
        "source_row": draft.source_row,
        "image_key": image.image_key,
    }
