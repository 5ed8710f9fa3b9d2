"""A batch of images on its way through the stages. Launching queues its work on the device; collecting waits for it.

While one batch is collected the device is already at the next. Shapes: B images, P phrases of all images together, N
prompts, R visual tokens kept, C the grounding encoder's channels, L the side of the low-resolution logits.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.config import GlammConfig, PruningConfig
from litelvlm.engine.clock import StageClock
from litelvlm.engine.memory import BatchLimit
from litelvlm.engine.packing import packed_length
from litelvlm.engine.request import AnnotationResult, EncodedImage
from litelvlm.engine.retention import ImagePrompt, Retained
from litelvlm.engine.runner import Runner
from litelvlm.engine.scheduler import prompt_batches
from litelvlm.preprocess import PreparedImage
from litelvlm.run_lengths import mask_run_lengths
from litelvlm.scores import confidence, stability
from litelvlm.transfer import NamedCopies, on_device

_MOST_UNREAD = 1024  # phrases whose logits wait on the device; of more, each micro-batch is read before the next


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """B images with their P phrases.

    Attributes:
        images: each prepared, or encoded already.
        num_phrases: of each image.
        prompts: the N prompts, image by image, their phrases in order.
        texts: P, that what the masks show is compared with; None where that is not asked.
    """

    images: Sequence[PreparedImage | EncodedImage]
    num_phrases: Sequence[int]
    prompts: Sequence[ImagePrompt]
    texts: Sequence[str] | None = None

    @property
    def prepared(self) -> list[PreparedImage]:
        return [image.prepared if isinstance(image, EncodedImage) else image for image in self.images]

    @property
    def image_of_phrase(self) -> list[int]:
        """P indices of images."""
        return [item.image_index for item in self.prompts for _ in item.prompt.phrase_indices]


@dataclass(kw_only=True)
class DecodedMasks:
    """Masks of consecutive phrases, on the device until their run lengths are read.

    Attributes:
        phrases: their numbers within the batch.
        logits: low-resolution logits, a row each.
        answers: columns of the results by name, a row a phrase, on their way to the host.
        made: when the device has got that far; None on a CPU.
    """

    phrases: Sequence[int]
    logits: Tensor | None
    answers: NamedCopies
    made: torch.cuda.Event | None
    run_lengths: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A batch whose work is queued."""

    batch: ImageBatch
    decoded: list[DecodedMasks]
    prompts: NamedCopies  # PxC mask prompts, NxR patches kept and, with `lm_head`, P probabilities


class BatchRunner:
    """Takes batches through a runner's stages.

    Args:
        runner: the stages.
        config: the model's.
        limits: the largest micro-batch of each stage.
        clock: times the stages.
    """

    def __init__(self, runner: Runner, config: GlammConfig, limits: dict[str, BatchLimit], clock: StageClock) -> None:
        self._runner, self._config, self._limits, self._clock = runner, config, limits, clock
        device = runner.model.device
        # Of high priority, since its kernels are short and the host waits for them.
        self._reading = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None

    def encode(self, images: Sequence[PreparedImage]) -> list[EncodedImage]:
        """Both encoders' output for each image."""
        embeddings, features = self._embeddings(images), self._features(images)
        return [
            EncodedImage(
                prepared=image,
                features=ClipFeatures(*(part[row : row + 1] for part in features if part is not None)),
                embedding=embeddings[row : row + 1],
            )
            for row, image in enumerate(images)
        ]

    def launch(self, batch: ImageBatch, pruning: PruningConfig, *, keep_logits: bool) -> Launched:
        """Queues all of a batch's work, the longest part first: the host plans the rest while the device is at it."""
        features, embeddings = self._encoded(batch)
        with self._clock.stage("prune"):
            seeds = [image.content_seed for image in batch.prepared]
            retained = self._runner.retain(features, batch.prompts, seeds, pruning)
        with self._clock.stage("llm"):
            answered = self._answered(features, batch.prompts, retained, pruning)
        decoded = self._decoded(batch, embeddings, answered["mask_prompts"], keep_logits=keep_logits)
        return Launched(batch=batch, decoded=decoded, prompts=NamedCopies(answered))

    def collect(self, launched: Launched) -> list[AnnotationResult]:
        """A result for each image of the batch, when it is there."""
        for part in launched.decoded:
            self._read(launched.batch, part)
        batch, columns = launched.batch, launched.prompts.wait()
        kept = columns.pop("kept")
        parts = [part.answers.wait() for part in launched.decoded]
        columns |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        run_lengths = [one for part in launched.decoded for one in part.run_lengths]
        results, stop = [], 0
        for index, (image, count) in enumerate(zip(batch.prepared, batch.num_phrases, strict=True)):
            start, stop = stop, stop + count
            own = [row for row, item in enumerate(batch.prompts) if item.image_index == index]
            answers: dict[str, Any] = {"low_res_logits": None}  # unless they are kept
            answers |= {name: column[start:stop] for name, column in columns.items()}
            results.append(
                AnnotationResult(
                    **answers,
                    run_lengths=run_lengths[start:stop],
                    retained=[kept[row] for row in own for _ in batch.prompts[row].prompt.phrase_indices],
                    num_visual_tokens=self._config.num_visual_tokens,
                    num_retained_tokens=kept.shape[1],
                    num_prompts=len(own),
                    num_text_tokens=sum(batch.prompts[row].prompt.num_text_tokens for row in own),
                    size_hw=image.original_size_hw,
                )
            )
        return results

    def _encoded(self, batch: ImageBatch) -> tuple[ClipFeatures, Tensor]:
        """Both encoders' output for the B images."""
        if not any(isinstance(image, EncodedImage) for image in batch.images):
            embeddings = self._embeddings(batch.prepared)
            return self._features(batch.prepared), embeddings
        encoded = self._all_encoded(batch.images)
        features = (torch.cat(parts) for parts in zip(*(one.features for one in encoded), strict=True))
        return ClipFeatures(*features), torch.cat([one.embedding for one in encoded])

    def _all_encoded(self, images: Sequence[PreparedImage | EncodedImage]) -> list[EncodedImage]:
        prepared = [image for image in images if isinstance(image, PreparedImage)]
        new = iter(self.encode(prepared) if prepared else [])
        return [image if isinstance(image, EncodedImage) else next(new) for image in images]

    def _features(self, images: Sequence[PreparedImage]) -> ClipFeatures:
        with self._clock.stage("clip"):
            parts = self._limits["clip"].run(
                range(len(images)), lambda part: self._runner.encode_clip([images[i] for i in part])
            )
            return ClipFeatures(*(torch.cat(tensors) for tensors in zip(*(part for _, part in parts), strict=True)))

    def _embeddings(self, images: Sequence[PreparedImage]) -> Tensor:
        with self._clock.stage("sam"):
            parts = self._limits["sam"].run(
                range(len(images)), lambda part: self._runner.encode_sam([images[i] for i in part])
            )
            return torch.cat([part for _, part in parts])

    def _answered(
        self, features: ClipFeatures, prompts: Sequence[ImagePrompt], retained: Retained, pruning: PruningConfig
    ) -> dict[str, Tensor]:
        """PxC mask prompts of all prompts' phrases, NxR the patches that each prompt kept, in order, and with `lm_head`
        the P probabilities of `[SEG]`, and of the token that rejects."""
        visual = self._runner.project(features, retained)
        lengths = [packed_length(item.prompt, retained.num_tokens) for item in prompts]
        answered = self._limits["llm"].run(
            range(len(prompts)),
            lambda group: self._runner.prefill(visual, [prompts[i] for i in group], retained.of(group), pruning),
            plan=lambda left, size: [[left[i] for i in g] for g in prompt_batches([lengths[i] for i in left], size)],
            cost=lambda group: len(group) * max(lengths[i] for i in group),
        )
        by_prompt = {i: one for group, answers in answered for i, one in zip(group, answers, strict=True)}
        in_order = [by_prompt[i] for i in range(len(prompts))]
        found = {
            "mask_prompts": torch.cat([one.mask_prompts for one in in_order]),
            "kept": torch.stack([one.patches for one in in_order]),
        }
        for name in ("seg_probability", "absent_probability", "absent"):
            columns = [getattr(one, name) for one in in_order if getattr(one, name) is not None]
            found |= {name: torch.cat(columns)} if columns else {}
        return found

    def _decoded(
        self, batch: ImageBatch, embeddings: Tensor, mask_prompts: Tensor, *, keep_logits: bool
    ) -> list[DecodedMasks]:
        image_of_phrase, images = batch.image_of_phrase, batch.prepared
        reads_at_once = len(image_of_phrase) > _MOST_UNREAD

        def decode(phrases: list[int]) -> DecodedMasks:
            own = [image_of_phrase[i] for i in phrases]
            with self._clock.stage("decode_masks"):
                logits, iou = self._runner.decode(embeddings, own, mask_prompts[phrases[0] : phrases[-1] + 1])
                scores = self._scores(logits, iou, [images[i] for i in own])
            columns = {"scores": scores, "predicted_iou": iou} | ({"low_res_logits": logits} if keep_logits else {})
            if batch.texts is not None:
                columns["clip_similarity"] = self._similarity(batch, phrases, logits)
            answers = NamedCopies(columns)
            made = torch.cuda.current_stream().record_event() if logits.is_cuda else None
            part = DecodedMasks(phrases=phrases, logits=logits, answers=answers, made=made)
            if reads_at_once:
                self._read(batch, part)
            return part

        return [part for _, part in self._limits["decode_masks"].run(range(len(image_of_phrase)), decode)]

    def _similarity(self, batch: ImageBatch, phrases: list[int], logits: Tensor) -> Tensor:
        """CLIP's similarity of phrases, whose logits are given, and their texts, P float32."""
        assert batch.texts is not None
        texts, images, found = batch.texts, batch.prepared, []
        of_phrase = batch.image_of_phrase
        with self._clock.stage("clip"):
            for rows in _runs([of_phrase[i] for i in phrases]):
                image = images[of_phrase[phrases[rows[0]]]]

                def compare(part: list[int], image: PreparedImage = image) -> Tensor:
                    own = [texts[phrases[row]] for row in part]
                    return self._runner.clip_similarity(image, logits[part[0] : part[-1] + 1], own)

                found += [one for _, one in self._limits["clip"].run(rows, compare)]
        return torch.cat(found)

    def _read(self, batch: ImageBatch, part: DecodedMasks) -> None:
        """Finds run lengths, beside what the device is doing, and lets the logits go."""
        if part.logits is None:
            return
        logits, images, image_of_phrase = part.logits, batch.prepared, batch.image_of_phrase
        with self._beside(part.made), self._clock.stage("masks"):
            for rows in _runs([image_of_phrase[i] for i in part.phrases]):
                image = images[image_of_phrase[part.phrases[rows[0]]]]
                find = functools.partial(self._run_lengths, logits, image)
                found = self._limits["masks"].run(rows, find)
                part.run_lengths.extend(one for _, run_lengths in found for one in run_lengths)
        part.logits = None

    def _run_lengths(self, logits: Tensor, image: PreparedImage, rows: list[int]) -> list[np.ndarray]:
        """Of consecutive rows of logits, all of one image."""
        height, width = image.sam_pixels.shape[:2]
        return mask_run_lengths(
            logits[rows[0] : rows[-1] + 1],
            input_size_hw=(height, width),
            size_hw=image.original_size_hw,
            target=self._config.sam.image_size,
        )

    @contextlib.contextmanager
    def _beside(self, made: torch.cuda.Event | None) -> Iterator[None]:
        """A stream that waits only for `made`, not for the work queued since."""
        if self._reading is None or made is None:
            yield
            return
        self._reading.wait_event(made)
        with torch.cuda.stream(self._reading):
            yield

    def _scores(self, logits: Tensor, iou: Tensor, images: Sequence[PreparedImage]) -> Tensor:
        """Confidences of P masks; the padding that the image does not cover is left out."""
        side, target = self._config.sam.low_res_size, self._config.sam.image_size
        covered = on_device(np.array([image.sam_pixels.shape[:2] for image in images]), logits.device)
        covered = (covered * side + target - 1) // target
        index = torch.arange(side, device=logits.device)
        rows, columns = (index < covered[:, axis, None] for axis in (0, 1))
        inside = rows[:, :, None] & columns[:, None, :]
        return confidence(iou, stability(logits.masked_fill(~inside, float("-inf"))), self._config.calibration)


def _runs(values: Sequence[int]) -> list[range]:
    """Ranges of places that hold the same value."""
    starts = [i for i in range(len(values)) if i == 0 or values[i] != values[i - 1]]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(values)], strict=True)]
