"""A model that needs no weights: masks are read off the image, so that every test knows what must come out."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from litelvlm.pipeline.masks import run_lengths
from litelvlm.pipeline.stages.engine import Annotated

KILL_PHRASE = "kill the worker"
EMPTY_PHRASE = "nothing at all"
ABSENT_PHRASE = "no such thing"  # phrases that begin so are rejected
BAD_PHRASE = "unanswerable"
NAN_PHRASE = "no score"
DEVICE_PHRASE = "break the device"
KILL_HEIGHT = 13  # an image of this height kills the worker that decodes it
SEGFAULT_HEIGHT = 17  # this one lets it read at address 0, as a broken decoder does
GREEDY_HEIGHT = 19  # this one lets it take memory until somebody kills it
_GREED_BYTES, _GREED_STEP = 12 << 30, 64 << 20
NUM_VISUAL_TOKENS = 64


def true_mask(rgb: np.ndarray, phrase: str) -> np.ndarray:
    """The (H, W) mask that the fake model returns for a phrase: one colour channel, thresholded."""
    if phrase == EMPTY_PHRASE:
        return np.zeros(rgb.shape[:2], dtype=bool)
    return rgb[..., len(phrase) % 3] > 128


def true_score(phrase: str) -> float:
    """The score that the fake model returns, in [0, 1]."""
    if phrase == NAN_PHRASE:
        return float("nan")
    return hashlib.sha256(phrase.encode()).digest()[0] / 255


@dataclass
class FakeResult:
    """As `litelvlm.AnnotationResult`, as far as the pipeline reads it."""

    rgb: np.ndarray
    phrases: list[str]
    num_retained_tokens: int
    num_visual_tokens: int = NUM_VISUAL_TOKENS

    @property
    def num_prompts(self) -> int:
        return len(self.phrases)

    @property
    def num_text_tokens(self) -> int:
        return sum(len(phrase) for phrase in self.phrases)

    @property
    def scores(self) -> np.ndarray:
        return np.array([true_score(phrase) for phrase in self.phrases], dtype=np.float32)

    @property
    def seg_probability(self) -> np.ndarray | None:
        return None

    @property
    def clip_similarity(self) -> np.ndarray | None:
        return None

    @property
    def absent_probability(self) -> np.ndarray | None:
        return None if self.absent is None else np.where(self.absent, np.float32(0.875), np.float32(0.125))

    @property
    def absent(self) -> np.ndarray | None:
        """None, as of a model that cannot reject, unless a phrase asks for what is not there."""
        absent = np.array([phrase.startswith(ABSENT_PHRASE) for phrase in self.phrases], dtype=bool)
        return absent if absent.any() else None

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def run_lengths(self) -> list[np.ndarray]:
        return [run_lengths(true_mask(self.rgb, phrase)) for phrase in self.phrases]


@dataclass(frozen=True)
class FakePreprocessor:
    """As `litelvlm.Preprocessor`."""

    seconds_per_prepare: float = 0.0

    def needed_size(self, size_hw: tuple[int, int]) -> None:
        return None

    def prepare(self, rgb: np.ndarray, original_size_hw: tuple[int, int] | None = None) -> np.ndarray:
        time.sleep(self.seconds_per_prepare)
        if rgb.shape[0] == KILL_HEIGHT:
            os.kill(os.getpid(), signal.SIGKILL)
        if rgb.shape[0] == SEGFAULT_HEIGHT:
            ctypes.string_at(0)
        if rgb.shape[0] == GREEDY_HEIGHT:
            _take_memory()
        return rgb


def _take_memory() -> None:
    taken = []
    for _ in range(_GREED_BYTES // _GREED_STEP):
        taken.append(np.ones(_GREED_STEP, dtype=np.uint8))
        time.sleep(0.01)
    raise AssertionError("nobody minded")


@dataclass(frozen=True)
class FakeDevice:
    """As `torch.device`."""

    type: str = "cpu"

    def __str__(self) -> str:
        return self.type


@dataclass
class FakeAnnotator:
    """As `litelvlm.Annotator`."""

    device: FakeDevice = field(default_factory=FakeDevice)
    formulation: str = "fake"
    stage_seconds: dict[str, float] = field(default_factory=lambda: {"clip": 0.0, "llm": 0.0, "sam": 0.0})


@dataclass(frozen=True, kw_only=True)
class FakeEngine:
    """As `pipeline.stages.engine.LiteLVLMEngine`, with stand-ins for the model and its data."""

    seconds_per_image: float = 0.0
    seconds_per_prepare: float = 0.0
    load_error: str | None = None
    break_on: str | None = None  # a phrase on which the engine raises
    broken: bool = False  # raises on everything

    def revision(self) -> str:
        return "fake-1"

    def check(self) -> list[str]:
        return []

    def check_weights(self) -> None:
        return None

    def on_device(self, device: str) -> Self:
        return self

    def annotator(self, num_threads: int | None) -> Any:
        if self.load_error:
            raise ValueError(self.load_error)
        return FakeAnnotator()

    def preprocessor(self) -> Any:
        return FakePreprocessor(self.seconds_per_prepare)

    def needed_tflop(self, done: Annotated) -> None:
        return None

    def tflop_an_image(self, phrases: Sequence[str], layout: str) -> None:
        return None

    def check_phrase(self, preprocessor: Any, phrase: str) -> str:
        checked = phrase.strip().lower()
        if not checked:
            raise ValueError("phrase: empty")
        if checked == BAD_PHRASE:
            raise ValueError("phrase: has no answer")
        return checked

    def annotate(
        self, annotator: Any, images: list[Any], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[Any]:
        asked = [phrase for group in phrases for phrase in group]
        if KILL_PHRASE in asked:
            os.kill(os.getpid(), signal.SIGKILL)
        if DEVICE_PHRASE in asked:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if self.broken or self.break_on in asked:
            raise RuntimeError(f"the engine broke on {asked[0] if self.broken else self.break_on}")
        time.sleep(self.seconds_per_image * len(images))
        annotator.stage_seconds["sam"] += self.seconds_per_image * len(images)
        kept = NUM_VISUAL_TOKENS if unpruned else NUM_VISUAL_TOKENS // 3
        return [FakeResult(image, group, kept) for image, group in zip(images, phrases, strict=True)]

    def annotate_each(self, annotator: Any, calls: Iterable[tuple[list[Any], list[list[str]]]]) -> Iterator[list[Any]]:
        return (self.annotate(annotator, images, phrases) for images, phrases in calls)
