"""The work of one replica: a batch of questions in, an answer each out. Results do not depend on the batch.

Images that are not held are encoded, then all phrases with the same budget and rule are asked together. Where
the model raises, the call is repeated in halves until the phrases at fault stand alone; they fail, all others do not.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from litelvlm.pipeline.masks import encode_answers, no_mask
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.schemas import STATUS_ABSENT, STATUS_EMPTY, STATUS_FAILED, STATUS_OK
from litelvlm.pipeline.serving.embedding_cache import EmbeddingCache
from litelvlm.pipeline.serving.questions import EXPIRED, MISSING_IMAGE, PhraseAnswer, Question, Reply, Unanswered
from litelvlm.pipeline.serving.served_model import ServedModel
from litelvlm.pipeline.stages.engine import device_is_broken

if TYPE_CHECKING:
    from litelvlm import AnnotationResult, PreparedImage

_EXIT_BROKEN_DEVICE = 70
_NO_SCORE = "the model returned a score that is no number from 0 to 1"
_SAY = Redactor({})


@dataclass(eq=False)
class _Asked:
    """A question on its way: the image that it is about, and what it gets."""

    question: Question
    encoded: Any = None
    size_hw: tuple[int, int] = (0, 0)
    was_cached: bool = True
    answers: list[PhraseAnswer] = field(default_factory=list)

    def fail(self, error: str) -> None:
        self.answers = [PhraseAnswer(status=STATUS_FAILED, error=error)] * len(self.question.phrases)


class Worker:
    """Answers batches of questions, one batch at a time.

    Args:
        model: the model.
        cache: of encoded images.
        name: the replica's.
    """

    def __init__(self, model: ServedModel, cache: EmbeddingCache[Any], name: str = "") -> None:
        self._model, self._cache, self._name = model, cache, name

    def answer(self, questions: Sequence[Question]) -> list[Reply | Unanswered]:
        """An answer to each question, in order, or why it has none."""
        started, now = time.perf_counter(), time.time()
        asked = {at: _Asked(one) for at, one in enumerate(questions) if one.expires_at > now}
        self._find_images(list(asked.values()))
        encoded_at = time.perf_counter()
        groups: dict[tuple[int | None, str], list[_Asked]] = defaultdict(list)
        for one in asked.values():
            if one.encoded is not None:
                groups[one.question.num_retain_tokens, one.question.rule].append(one)
        for group in groups.values():
            self._ask(group)
        seconds = {"encode": encoded_at - started, "annotate": time.perf_counter() - encoded_at}
        facts = self._cache.facts()
        return [
            Unanswered(reason=EXPIRED)
            if at not in asked
            else Unanswered(reason=MISSING_IMAGE)
            if not asked[at].answers and questions[at].phrases
            else Reply(
                phrases=tuple(asked[at].answers),
                size_hw=asked[at].size_hw,
                cached_image=asked[at].was_cached,
                seconds=seconds,
                batch_images=len(asked),
                cache=facts,
                replica=self._name,
            )
            for at in range(len(questions))
        ]

    def _find_images(self, asked: Sequence[_Asked]) -> None:
        """Put to each question its encoded image, from the cache or from the encoders; failed ones get their reason."""
        new: dict[str, list[_Asked]] = defaultdict(list)
        for one in asked:
            one.encoded = self._cache.get(one.question.image_key)
            if one.encoded is not None:
                one.size_hw = self._size_hw(one.encoded)
            else:
                new[one.question.image_key].append(one)
        images = {
            key: found
            for key, ones in new.items()
            if (found := _first(one.question.prepared for one in ones)) is not None
        }
        for key, encoded in self._encoded(images).items():
            for one in new[key]:
                one.was_cached = False
                if isinstance(encoded, Exception):
                    one.fail(_reason(encoded))
                else:
                    one.encoded, one.size_hw = encoded, self._size_hw(encoded)

    def _size_hw(self, encoded: Any) -> tuple[int, int]:
        size: tuple[int, int] = encoded.prepared.original_size_hw
        return size

    def _encoded(self, images: dict[str, PreparedImage]) -> dict[str, Any]:
        """What the encoders make of each image, kept; an exception where one fails on it alone."""
        if not images:
            return {}
        try:
            found = dict(zip(images, self._model.encode(list(images.values())), strict=True))
        except Exception as error:  # noqa: BLE001 - the boundary of a request: another one must not fail for it
            _leave_if_broken(error)
            if len(images) == 1:
                return dict.fromkeys(images, error)
            return {key: one for name in images for key, one in self._encoded({name: images[name]}).items()}
        for key, encoded in found.items():
            self._cache.put(key, encoded, self._model.num_bytes(encoded))
        return found

    def _ask(self, group: list[_Asked]) -> None:
        """Get an answer for every phrase of questions with the same budget and rule."""
        first = group[0].question
        try:
            results = self._model.annotate(
                [one.encoded for one in group],
                [list(one.question.phrases) for one in group],
                num_retain_tokens=first.num_retain_tokens,
                rule=first.rule,
            )
            answers = [_answers(result) for result in results]
        except Exception as error:  # noqa: BLE001 - the same boundary
            _leave_if_broken(error)
            failure = error
        else:
            for one, found in zip(group, answers, strict=True):
                one.answers = found
            return
        if len(group) > 1:
            for half in (group[: len(group) // 2], group[len(group) // 2 :]):
                self._ask(half)
        elif len(first.phrases) > 1:
            self._ask_halves(group[0])
        else:
            group[0].fail(_reason(failure))

    def _ask_halves(self, one: _Asked) -> None:
        """Ask the phrases of a question in halves."""
        phrases = one.question.phrases
        middle = len(phrases) // 2
        halves = [
            replace(one, question=replace(one.question, phrases=part)) for part in (phrases[:middle], phrases[middle:])
        ]
        for half in halves:
            self._ask([half])
        one.answers = [answer for half in halves for answer in half.answers]


def _answers(result: AnnotationResult) -> list[PhraseAnswer]:
    found = []
    absent = [False] * len(result.scores) if result.absent is None else result.absent
    answers = zip(encode_answers(result), result.scores, result.retained, absent, strict=True)
    for mask, score, retained, is_absent in answers:
        number = float(score)
        if not 0.0 <= number <= 1.0:  # NaN included
            found.append(PhraseAnswer(status=STATUS_FAILED, error=_NO_SCORE))
            continue
        if is_absent:
            mask = no_mask(result.size_hw)
        found.append(
            PhraseAnswer(
                status=STATUS_ABSENT if is_absent else STATUS_OK if mask.area else STATUS_EMPTY,
                mask=mask,
                score=number if mask.area else None,
                num_visual_tokens=int(result.num_visual_tokens),
                num_retained_tokens=int(result.num_retained_tokens),
                retained=tuple(int(one) for one in retained),
            )
        )
    return found


def _first(images: Any) -> Any:
    return next((one for one in images if one is not None), None)


def _reason(error: Exception) -> str:
    return _SAY(f"the model failed on this: {type(error).__name__}: {error}")


def _leave_if_broken(error: Exception) -> None:
    """End this process where nothing works on its device any more: another one takes its place."""
    if device_is_broken(error):
        print(f"the device is broken: {error}", file=sys.stderr, flush=True)
        os._exit(_EXIT_BROKEN_DEVICE)
