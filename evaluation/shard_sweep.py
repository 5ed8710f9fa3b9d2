"""One shard under every combination: images encoded once, each answer scored at once and forgotten.

What can be known of an expression before any answer (its truth, the object's patches, its rounds) is worked out once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.evaluation.config import SweepConfig
from litelvlm.evaluation.coverage import coverage, object_patches
from litelvlm.evaluation.engine import EvaluationEngine
from litelvlm.evaluation.metrics import mask_intersection
from litelvlm.evaluation.protocol import Protocol, Round
from litelvlm.evaluation.records import STATUS_SCORED
from litelvlm.pipeline.boundary import boundary_f
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.schemas import STATUS_FAILED
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardWork
from litelvlm.pipeline.stages.device_clock import DeviceShare
from litelvlm.pipeline.stages.engine import LoadedModel, device_is_broken

if TYPE_CHECKING:
    from litelvlm import AnnotationResult

CALL_IMAGES = 16
NO_TRUTH = "there is no true mask"
_KILLED = "this image killed the worker that evaluated it, every time"
Row = dict[str, Any]


@dataclass(kw_only=True)
class Spent:
    """Seconds on the model's device: what combinations share, and what each took by itself."""

    encode_s: float = 0.0
    answer_s: list[float] = field(default_factory=list)
    llm_s: list[float] = field(default_factory=list)
    text_tokens: int = 0  # of the prompts of one combination
    images: int = 0
    prompts: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedExpression:
    """An expression that is asked, and what its answers are held against."""

    draft: Draft
    place: int  # in the conversation
    round: Round
    truth: EncodedMask
    mask: NDArray[np.bool_]
    patches: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedImage:
    """An image that can be evaluated, with its conversation."""

    image: ImageWork
    targets: tuple[AskedExpression, ...]
    is_example: bool

    @property
    def phrases(self) -> list[str]:
        """In the order of the conversation."""
        return [target.draft.prompt or "" for target in self.targets]


class ShardSweep:
    """Evaluates images of one shard. `device` is held by one call at a time; answers are scored outside it."""

    def __init__(
        self,
        engine: EvaluationEngine,
        annotator: LoadedModel,
        device: DeviceShare,
        work: ShardWork,
        sweep: SweepConfig,
        protocol: Protocol,
    ) -> None:
        self._engine, self._annotator, self._device, self._work = engine, annotator, device, work
        self._sweep, self._protocol = sweep, protocol
        self._combinations = sweep.combinations()
        self._num_visual_tokens = engine.num_visual_tokens()
        self._calls = 0
        self._works = False
        self.spent = Spent(answer_s=[0.0] * len(self._combinations), llm_s=[0.0] * len(self._combinations))

    def evaluate(self, units: range, examples: frozenset[int]) -> list[Row]:
        """Rows of the shard's images number `units`; `examples` are the source rows that keep masks and tokens."""
        rows: list[Row] = []
        for start in range(units.start, units.stop, CALL_IMAGES):
            images = self._work.images[start : min(start + CALL_IMAGES, units.stop)]
            asked = [self._asked(image, examples) for image in images]
            rows += self._answered([one for one in asked if one.targets])
            for image in images:  # after the answers: what they could not be had for has its reason now
                rows += [row for draft in image.drafts if draft.error for row in self._failed(image, draft)]
        return rows

    def give_up(self, units: range) -> list[Row]:
        """Failed rows for images that killed their worker."""
        images = [self._work.images[unit] for unit in units]
        for image in images:
            image.fail(_KILLED)
        return [row for image in images for draft in image.drafts for row in self._failed(image, draft)]

    def _asked(self, image: ImageWork, examples: frozenset[int]) -> AskedImage:
        for draft in image.asked:
            draft.error = None if draft.truth is not None else draft.truth_error or NO_TRUTH
        drafts = image.asked
        rounds = self._protocol.rounds(len(drafts), image.image_key)
        targets = tuple(self._target(drafts[one.index], place, one) for place, one in enumerate(rounds))
        is_example = any(draft.source_row in examples for draft in image.drafts)
        return AskedImage(image=image, targets=targets, is_example=is_example)

    def _target(self, draft: Draft, place: int, round_: Round) -> AskedExpression:
        assert draft.truth is not None, "drafts without truth are not asked"
        mask = decode_mask(draft.truth)
        patches = object_patches(mask, self._num_visual_tokens)
        return AskedExpression(draft=draft, place=place, round=round_, truth=draft.truth, mask=mask, patches=patches)

    def _answered(self, asked: list[AskedImage]) -> list[Row]:
        """Rows of all images under all combinations. An image that the model cannot take fails under every one."""
        if not asked:
            return []
        try:
            rows = list(self._combined(asked))
        except Exception as error:
            if device_is_broken(error):
                raise
            if len(asked) > 1:
                return [row for one in asked for row in self._answered([one])]
            if not self._works:
                raise  # nothing of this shard has come through: the model is broken, not the image
            reason = Redactor({})(f"the model failed on this image: {type(error).__name__}: {error}")
            asked[0].image.fail(reason)
            return []
        self._works = True
        return rows

    def _combined(self, asked: list[AskedImage]) -> Iterator[Row]:
        questions = [(one.phrases, [target.round for target in one.targets]) for one in asked]
        encoded = self._encoded(asked)
        # Questions are embedded by whoever comes first and remembered: the first place goes round.
        self._calls += 1
        count = len(self._combinations)
        for offset in range(count):
            index = (self._calls + offset) % count
            results = self._answer(index, encoded, questions)
            for one, result in zip(asked, results, strict=True):
                yield from self._rows(index, one, result)

    def _encoded(self, asked: list[AskedImage]) -> list[Any]:
        with self._device.hold("annotate"):
            started = time.perf_counter()
            encoded = self._engine.encode(
                self._annotator, [one.image.prepared for one in asked if one.image.prepared is not None]
            )
            self.spent.encode_s += time.perf_counter() - started
        self.spent.images += len(asked)
        return encoded

    def _answer(
        self, index: int, encoded: list[Any], questions: Sequence[tuple[list[str], Sequence[Round]]]
    ) -> list[AnnotationResult]:
        with self._device.hold("annotate"), self._timed(index):
            results = self._engine.answer(
                self._annotator, encoded, questions, self._combinations[index], self._protocol.layout
            )
        if index == 0:
            self.spent.prompts += sum(result.num_prompts for result in results)
            self.spent.text_tokens += sum(result.num_text_tokens for result in results)
        return results

    @contextmanager
    def _timed(self, index: int) -> Iterator[None]:
        before, started = dict(self._annotator.stage_seconds), time.perf_counter()
        yield
        after = dict(self._annotator.stage_seconds)
        self.spent.answer_s[index] += time.perf_counter() - started
        self.spent.llm_s[index] += after.get("llm", 0.0) - before.get("llm", 0.0)

    def _rows(self, index: int, one: AskedImage, result: AnnotationResult) -> Iterator[Row]:
        absent = [False] * len(result.scores) if result.absent is None else result.absent
        answers = zip(one.targets, result.iter_masks(), result.scores, result.retained, absent, strict=True)
        for target, mask, score, retained, is_absent in answers:
            if is_absent:
                mask = np.zeros_like(mask)
            area = int(np.count_nonzero(mask))
            common = mask_intersection(mask, target.mask)
            yield self._row(one.image, target.draft, index) | {
                "question": target.round.question,
                "answer": target.round.answer,
                "round": target.place,
                "status": STATUS_SCORED,
                "true_area": target.truth.area,
                "predicted_area": area,
                "intersection": common,
                "boundary_f": boundary_f(mask, target.mask) if self._sweep.boundary else None,
                "score": float(score),
                "coverage": coverage(target.patches, np.asarray(retained)),
                "num_retained_tokens": result.num_retained_tokens,
                "num_visual_tokens": result.num_visual_tokens,
                "mask_rle": encode_mask(mask).counts if one.is_example or self._sweep.save_masks else None,
                "retained": [int(token) for token in retained] if one.is_example else None,
            }

    def _failed(self, image: ImageWork, draft: Draft) -> Iterator[Row]:
        for index in range(len(self._combinations)):
            yield self._row(image, draft, index) | {"status": STATUS_FAILED, "error": draft.error}

    def _row(self, image: ImageWork, draft: Draft, index: int) -> Row:
        return {
            "combination": index,
            "source_file": self._work.shard.file,
            "source_row": draft.source_row,
            "phrase_index": draft.phrase_index,
            "image_id": image.image_id,
            "image_key": image.image_key,
            "phrase": draft.phrase,
            "num_words": min(len(draft.phrase.split()), 32_767),
            "height": image.height,
            "width": image.width,
        }
