"""A model for the service that needs no weights, and a service without Ray."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import numpy as np

from litelvlm.pipeline.serving.access import Gate
from litelvlm.pipeline.serving.app import build_app
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.corrections import Corrections
from litelvlm.pipeline.serving.embedding_cache import EmbeddingCache
from litelvlm.pipeline.serving.images import ImageReader
from litelvlm.pipeline.serving.label_studio import LabelStudioBackend
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.questions import Question, Reply, Unanswered
from litelvlm.pipeline.serving.service import AnnotationService, ServedModelFacts
from litelvlm.pipeline.serving.worker import Worker
from tests.fakes import NUM_VISUAL_TOKENS, FakeEngine, FakePreprocessor, FakeResult

TOKEN = "a token of some length"


@dataclass(frozen=True)
class Prepared:
    """As `litelvlm.PreparedImage`."""

    rgb: np.ndarray
    original_size_hw: tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """As `litelvlm.EncodedImage`."""

    prepared: Prepared


class Preprocessor(FakePreprocessor):
    """Hands on the image."""

    def prepare(self, rgb: np.ndarray, original_size_hw: tuple[int, int] | None = None) -> Any:
        return Prepared(rgb, original_size_hw or (rgb.shape[0], rgb.shape[1]))


class Result(FakeResult):
    """With the patches that were kept."""

    @property
    def retained(self) -> list[np.ndarray]:
        return [np.arange(self.num_retained_tokens)] * len(self.phrases)


@dataclass
class Model:
    """Masks as those of `tests.fakes`; notes what it is asked. Breaks on the phrase `break_on`."""

    break_on: str | None = None
    encoded: list[int] = field(default_factory=list)  # images of each call
    asked: list[list[list[str]]] = field(default_factory=list)

    def encode(self, images: list[Any]) -> list[Encoded]:
        self.encoded.append(len(images))
        return [Encoded(one) for one in images]

    def num_bytes(self, encoded: Encoded) -> int:
        return int(encoded.prepared.rgb.nbytes)

    def annotate(self, images: list[Any], phrases: list[list[str]], *, num_retain_tokens: int | None, rule: str) -> Any:
        self.asked.append(phrases)
        if any(self.break_on in group for group in phrases):
            raise RuntimeError("the model broke")
        kept = min(num_retain_tokens or NUM_VISUAL_TOKENS, NUM_VISUAL_TOKENS)
        return [Result(one.prepared.rgb, group, kept) for one, group in zip(images, phrases, strict=True)]


@dataclass
class Backend:
    """A replica in this process; `ready` says whether its model is loaded."""

    worker: Worker
    ready: bool = True
    forget: bool = False  # holds nothing, as after its death
    asked: list[Question] = field(default_factory=list)

    async def ask(self, question: Question) -> Reply | Unanswered:
        self.asked.append(question)
        return self.worker.answer([question])[0]

    async def is_ready(self) -> bool:
        return self.ready


@dataclass
class Service:
    """A service and a client of it."""

    config: ServeConfig
    model: Model
    backend: Backend
    service: AnnotationService
    client: httpx.AsyncClient


def service(
    token: str | None = None,
    corrections: Corrections | None = None,
    model: Model | None = None,
    model_name: str = "demo",
    **settings: Any,
) -> Service:
    """A service in this process, behind its ASGI application."""
    config = ServeConfig.from_flat({"model": model_name, **settings})
    model = model or Model()
    backend = Backend(Worker(model, EmbeddingCache(config.cache_bytes), "one"))
    engine = FakeEngine()
    facts = ServedModelFacts(
        key="fake",
        version="fake-1",
        num_visual_tokens=NUM_VISUAL_TOKENS,
        check_phrase=lambda phrase: engine.check_phrase(None, phrase),
    )
    reader = ImageReader(config, Preprocessor())
    made = AnnotationService(config, reader, backend, facts, None, ServiceMeters())
    label_studio = LabelStudioBackend(made, corrections, config.label_studio_url)
    app = build_app(made, Gate(token, any_host=False), label_studio)
    transport = httpx.ASGITransport(app=app)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost:8123")
    return Service(config, model, backend, made, client)


def question(rgb: np.ndarray, *phrases: str, key: str = "k", **changes: Any) -> Question:
    """A question about an image."""
    prepared: Any = Prepared(rgb, (rgb.shape[0], rgb.shape[1]))
    asked = Question(
        image_key=key, phrases=phrases, num_retain_tokens=8, rule="paper", prepared=prepared, expires_at=float("inf")
    )
    return replace(asked, **changes)


def free_port() -> int:
    """One of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
