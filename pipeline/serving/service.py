"""A request's way: its image read, what runs have answered looked up, the rest asked of a replica that holds the image.

Nothing here knows HTTP or Ray: `Backend` is where questions go.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.fetch.policy import FetchError
from litelvlm.pipeline.images.decode import ImageError
from litelvlm.pipeline.serving.api import AnnotateRequest, AnnotateResponse, Mask
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.errors import Refusal
from litelvlm.pipeline.serving.images import ImageReader, ReadImage, refusal_of
from litelvlm.pipeline.serving.known_answers import KnownAnswers
from litelvlm.pipeline.serving.mask_formats import check_format, shown_mask
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.questions import (
    MISSING_IMAGE,
    PhraseAnswer,
    Question,
    Reply,
    Unanswered,
    image_key,
)

T = TypeVar("T")

_READ_THREADS = 4
_SEEN_KEYS = 4096  # images that a replica is thought to hold
_MEAN_WEIGHT = 0.1  # of a request in the running mean of seconds


class Unavailable(Exception):
    """No replica answers at the moment."""


class Backend(Protocol):
    """Replicas of the model."""

    async def ask(self, question: Question) -> Reply | Unanswered:
        """An answer by the replica that holds the image. Raises Unavailable where none can be reached in time."""
        ...

    async def is_ready(self) -> bool:
        """Whether a model is loaded."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServedModelFacts:
    """What the service says of its model, and how it checks phrases.

    Attributes:
        key: names the model and its preprocessing.
        version: for clients.
        num_visual_tokens: V.
        check_phrase: normalises a phrase; raises ValueError with the reason why it cannot be asked.
    """

    key: str
    version: str
    num_visual_tokens: int
    check_phrase: Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class _Told:
    """The answers to all phrases of a request."""

    phrases: list[PhraseAnswer]
    size_hw: tuple[int, int]
    cached_image: bool
    seconds: dict[str, float]


class AnnotationService:
    """Answers requests, a bounded number at a time.

    Args:
        config: settings.
        reader: of images.
        backend: the replicas.
        facts: of the model.
        known: what finished runs have answered, None without.
        meters: count what is done.
    """

    def __init__(
        self,
        config: ServeConfig,
        reader: ImageReader,
        backend: Backend,
        facts: ServedModelFacts,
        known: KnownAnswers | None = None,
        meters: ServiceMeters | None = None,
    ) -> None:
        self.config, self.facts, self.meters = config, facts, meters or ServiceMeters()
        self._reader, self._backend, self._known = reader, backend, known
        self._threads = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="read")
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._pending = 0
        self._mean_s = 1.0
        self._draining = False

    @property
    def num_pending(self) -> int:
        """Requests that wait or run."""
        return self._pending

    async def state(self) -> str:
        """`ready`, `loading` (no model is loaded yet) or `draining` (the service is about to end)."""
        if self._draining:
            return "draining"
        return "ready" if await self._backend.is_ready() else "loading"

    async def drain(self, seconds: float) -> bool:
        """Take no more requests and wait for those that run. Returns whether all ended in time."""
        self._draining = True
        ends = time.monotonic() + seconds
        while self._pending and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        return not self._pending

    async def annotate(self, request: AnnotateRequest) -> AnnotateResponse:
        """Masks for the phrases of a request. Raises Refusal."""
        limits, started = self.config.limits, time.perf_counter()
        self._admit()
        self.meters.pending.set(self._pending)
        try:
            async with asyncio.timeout(limits.timeout):
                return await self._answered(request, time.time() + limits.timeout)
        except TimeoutError:
            raise Refusal(504, "timeout", f"no answer within {limits.timeout:g} s", retry_after_s=1) from None
        except Unavailable:
            raise Refusal(503, "unavailable", "no copy of the model answers", retry_after_s=2) from None
        finally:
            self._pending -= 1
            self.meters.pending.set(self._pending)
            self._mean_s += _MEAN_WEIGHT * (time.perf_counter() - started - self._mean_s)

    def _admit(self) -> None:
        limits = self.config.limits
        if self._draining:
            raise Refusal(503, "draining", "the service is about to end", retry_after_s=5)
        if self._pending >= limits.max_queue:
            raise Refusal(429, "busy", f"{self._pending} requests are waiting", retry_after_s=min(60, self._mean_s))
        self._pending += 1

    async def _answered(self, request: AnnotateRequest, expires_at: float) -> AnnotateResponse:
        started = time.perf_counter()
        check_format(request.format)
        phrases = [self._checked(at, phrase) for at, phrase in enumerate(request.phrases)]
        data = await self._data(request)
        fetched = time.perf_counter()
        told = await self._told(request, phrases, data, expires_at)
        self.meters.answered(told.phrases, cached=told.cached_image)
        masks = await self._in_thread(_masks, request, told.phrases)
        seconds = {"fetch": fetched - started, **told.seconds, "total": time.perf_counter() - started}
        height, width = told.size_hw
        return AnnotateResponse(
            width=width,
            height=height,
            masks=masks,
            cached_image=told.cached_image,
            model_version=self.facts.version,
            seconds={name: round(value, 6) for name, value in seconds.items()},
        )

    def _checked(self, at: int, phrase: str) -> str:
        try:
            return self.facts.check_phrase(phrase)
        except ValueError as error:
            raise Refusal(422, "bad_phrase", str(error)[:300], f"phrases.{at}") from None

    async def _data(self, request: AnnotateRequest) -> bytes:
        """The bytes of the image, which are there, or are fetched."""
        source = request.image
        if source.uri is None:
            return source.decoded(self.config.limits.max_bytes)
        try:
            return await self._in_thread(self._reader.fetch, source.uri)
        except FetchError as error:
            raise refusal_of(error, "image.uri", self.config.image_root) from None
        except StorageError:
            raise Refusal(502, "storage", "the store does not take this service's credentials", "image.uri") from None

    async def _told(self, request: AnnotateRequest, phrases: list[str], data: bytes, expires_at: float) -> _Told:
        budget, rule = self._pruning(request)
        key = image_key(data, self.facts.key)
        known: dict[str, PhraseAnswer] = {}
        image: ReadImage | None = None
        started = time.perf_counter()
        if (self._known is not None and not request.retained) or key not in self._seen:
            image = await self._read(data)
        if self._known is not None and image is not None and not request.retained:
            find = functools.partial(self._known.find, num_retain_tokens=budget, rule=rule)
            known = await self._in_thread(find, data, image.perceptual_hash, phrases)
        read_s = time.perf_counter() - started
        left = [phrase for phrase in phrases if phrase not in known]
        if not left and image is not None:
            answers = [known[phrase] for phrase in phrases]
            return _Told(phrases=answers, size_hw=image.size_hw, cached_image=True, seconds={"read": read_s})
        question = Question(
            image_key=key,
            phrases=tuple(left),
            num_retain_tokens=budget,
            rule=rule,
            prepared=image.prepared if image is not None and key not in self._seen else None,
            expires_at=expires_at,
        )
        answer = await self._asked(question, image, data)
        self._remember(key)
        self.meters.batch(answer)
        rest = iter(answer.phrases)
        return _Told(
            phrases=[known[phrase] if phrase in known else next(rest) for phrase in phrases],
            size_hw=answer.size_hw,
            cached_image=answer.cached_image,
            seconds={"read": read_s, **answer.seconds},
        )

    async def _asked(self, question: Question, image: ReadImage | None, data: bytes) -> Reply:
        """The replica's answer; it is sent the image if it does not hold it after all."""
        found = await self._backend.ask(question)
        if isinstance(found, Unanswered) and found.reason == MISSING_IMAGE:
            prepared = (image or await self._read(data)).prepared
            found = await self._backend.ask(
                Question(
                    image_key=question.image_key,
                    phrases=question.phrases,
                    num_retain_tokens=question.num_retain_tokens,
                    rule=question.rule,
                    prepared=prepared,
                    expires_at=question.expires_at,
                )
            )
        if isinstance(found, Unanswered):
            raise TimeoutError
        return found

    def _pruning(self, request: AnnotateRequest) -> tuple[int | None, str]:
        """Budget and rule: those of the request, else the service's."""
        model, asked = self.config.model, request.num_retain_tokens
        budget = model.num_retain_tokens if asked is None else None if asked == "all" else asked
        return budget, request.rule or model.rule

    async def _read(self, data: bytes) -> ReadImage:
        try:
            return await self._in_thread(self._reader.read, data)
        except ImageError as error:
            raise refusal_of(error, "image") from None

    def _remember(self, key: str) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > _SEEN_KEYS:
            self._seen.popitem(last=False)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _masks(request: AnnotateRequest, answers: Sequence[PhraseAnswer]) -> list[Mask]:
    return [_mask(request, phrase, answer) for phrase, answer in zip(request.phrases, answers, strict=True)]


def _mask(request: AnnotateRequest, phrase: str, answer: PhraseAnswer) -> Mask:
    found: dict[str, Any] = {}
    if answer.mask is not None:
        found = {"area": answer.mask.area, **shown_mask(answer.mask, request.format)}
        found["bbox"] = list(answer.mask.bbox_xywh) if answer.mask.area else None
    told: dict[str, Any] = {"status": answer.status, "source": answer.source}
    return Mask(
        phrase=phrase,
        score=answer.score,
        num_retained_tokens=answer.num_retained_tokens,
        num_visual_tokens=answer.num_visual_tokens,
        retained=list(answer.retained) if request.retained else None,
        error=answer.error,
        **told,
        **found,
    )
