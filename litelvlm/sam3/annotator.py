"""SAM 3 as the pipeline asks it: images are encoded once, phrases are answered in micro-batches across images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litelvlm.detectors.detector import INSTANCE_THRESHOLD
from litelvlm.engine.clock import StageClock
from litelvlm.engine.device import resolve_device, resolve_dtype
from litelvlm.engine.memory import BatchLimit, consecutive
from litelvlm.engine.request import AnnotationResult
from litelvlm.precision import FLOAT8
from litelvlm.sam3.instances import instance_scores, phrase_mask
from litelvlm.sam3.loading import load_sam3
from litelvlm.sam3.preprocess import Sam3Image, Sam3Preprocessor
from litelvlm.transfer import on_device

_MAX_TEXTS = 4096  # embeddings of phrases that are remembered
_CPU_BATCH = {"sam": 1, "clip": 64, "decode_masks": 4}
_GPU_BATCH = {"sam": 8, "clip": 256, "decode_masks": 32}


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSam3Image:
    """What the image encoder makes of an image, on the model's device.

    Attributes:
        prepared: the image.
        features: of each level, CxGxG, finest first.
        positions: their position encodings, the same shapes.
    """

    prepared: Sam3Image
    features: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class _Text:
    """A phrase's embedding, TxC, its attention mask, T int64, and its length in tokens."""

    embedding: Tensor
    attention_mask: Tensor
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class _Answer:
    run_lengths: np.ndarray
    score: float
    presence: float


class Sam3Annotator:
    """`Sam3Model` with its processing. Build it with `from_directory`. Results do not depend on batching.

    A phrase's mask is the union of all instances above `instance_threshold`; its score is that of the best instance,
    kept or not; `absent_probability` is one minus the model's presence.
    """

    formulation = "transformers"

    def __init__(self, model: Any, preprocessor: Sam3Preprocessor, instance_threshold: float) -> None:
        self._model, self._preprocessor = model, preprocessor
        self._threshold = instance_threshold
        self._clock = StageClock(self.device)
        sizes = _GPU_BATCH if self.device.type == "cuda" else _CPU_BATCH
        self._limits = {stage: BatchLimit(size) for stage, size in sizes.items()}
        self._texts: OrderedDict[str, _Text] = OrderedDict()
        known = model.config.text_config.vocab_size
        if preprocessor.vocab_size > known:
            raise ValueError(
                f"model: the tokeniser has {preprocessor.vocab_size} ids but the text encoder only {known}; tokeniser "
                "and weights do not belong together"
            )

    @classmethod
    def from_directory(
        cls,
        directory: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        instance_threshold: float = INSTANCE_THRESHOLD,
    ) -> Sam3Annotator:
        """Loads a checkpoint. Raises FileNotFoundError or ValueError in one line where it does not fit."""
        if resolve_dtype(dtype) == FLOAT8:
            raise ValueError("precision: SAM 3 does not run in fp8; use bf16 or fp32")
        preprocessor = Sam3Preprocessor(directory)
        model = load_sam3(preprocessor.checkpoint, resolve_device(device), resolve_dtype(dtype))
        return cls(model, preprocessor, instance_threshold)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self._model.device)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds so far: `sam` is the image encoder, `clip` the text encoder, `decode_masks` the detector with its
        mask decoder, `masks` from instances to run lengths."""
        return self._clock.seconds()

    @property
    def batch_limits(self) -> dict[str, int]:
        """Largest micro-batch of each stage: images of `sam`, phrases of the others. They shrink where the device runs
        out of memory."""
        return {stage: limit.size for stage, limit in self._limits.items()}

    @torch.inference_mode()
    def encode(self, images: Sequence[Sam3Image]) -> list[EncodedSam3Image]:
        """The image encoder's output, to be asked several times."""
        parts = self._limits["sam"].run(range(len(images)), lambda group: self._encode([images[i] for i in group]))
        return [encoded for _, part in parts for encoded in part]

    @torch.inference_mode()
    def annotate(
        self,
        images: Sequence[Sam3Image | EncodedSam3Image],
        phrases: Sequence[Sequence[str]],
        *,
        batch_images: int | None = None,
    ) -> list[AnnotationResult]:
        """Masks for every phrase of every image, in order; phrases as `Sam3Preprocessor.check_phrase` returns them.

        `batch_images` images are encoded, answered and forgotten together; None chooses.
        """
        results: list[AnnotationResult] = []
        for group in consecutive(range(len(images)), batch_images or self._limits["sam"].size):
            results += self._annotate([images[i] for i in group], [phrases[i] for i in group])
        return results

    def _annotate(
        self, images: Sequence[Sam3Image | EncodedSam3Image], phrases: Sequence[Sequence[str]]
    ) -> list[AnnotationResult]:
        encoded = self._encoded(images)
        asked = [(image, text) for image, texts in zip(encoded, phrases, strict=True) for text in texts]
        texts = self._embedded([phrase for _, phrase in asked])
        parts = self._limits["decode_masks"].run(
            range(len(asked)),
            lambda group: self._answer([asked[i][0] for i in group], [texts[asked[i][1]] for i in group]),
        )
        answers = iter([answer for _, part in parts for answer in part])
        return [
            self._result(image.prepared, [next(answers) for _ in own], [texts[phrase] for phrase in own])
            for image, own in zip(encoded, phrases, strict=True)
        ]

    def _encoded(self, images: Sequence[Sam3Image | EncodedSam3Image]) -> list[EncodedSam3Image]:
        fresh = iter(self.encode([image for image in images if isinstance(image, Sam3Image)]))
        return [next(fresh) if isinstance(image, Sam3Image) else image for image in images]

    def _encode(self, images: Sequence[Sam3Image]) -> list[EncodedSam3Image]:
        with self._clock.stage("sam"):
            found = self._model.get_vision_features(pixel_values=self._normalized(images))
            features, positions = found.fpn_hidden_states[:-1], found.fpn_position_encoding[:-1]  # what the model reads
        return [
            EncodedSam3Image(
                prepared=image,
                features=tuple(level[i] for level in features),
                positions=tuple(level[i] for level in positions),
            )
            for i, image in enumerate(images)
        ]

    def _normalized(self, images: Sequence[Sam3Image]) -> Tensor:
        """Bx3xSxS in the model's dtype."""
        known, device = self._preprocessor.checkpoint, self.device
        pixels = on_device(np.stack([image.pixels for image in images]), device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(one, device=device)[:, None, None] for one in (known.image_mean, known.image_std))
        return ((pixels - mean) / std).to(self._model.dtype)

    def _embedded(self, phrases: Sequence[str]) -> dict[str, _Text]:
        """Every phrase's embedding; those not remembered are computed in micro-batches."""
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._texts]
        for _, part in self._limits["clip"].run(range(len(new)), lambda group: self._embed([new[i] for i in group])):
            self._texts.update(part)
        wanted = {phrase: self._texts[phrase] for phrase in phrases}
        while len(self._texts) > _MAX_TEXTS:
            self._texts.popitem(last=False)
        return wanted

    def _embed(self, phrases: Sequence[str]) -> dict[str, _Text]:
        ids, attention = self._preprocessor.tokenize(phrases)
        with self._clock.stage("clip"):
            mask = on_device(attention, self.device)
            found = self._model.get_text_features(input_ids=on_device(ids, self.device), attention_mask=mask)
        return {
            phrase: _Text(embedding=found.pooler_output[i], attention_mask=mask[i], num_tokens=int(attention[i].sum()))
            for i, phrase in enumerate(phrases)
        }

    def _answer(self, images: Sequence[EncodedSam3Image], texts: Sequence[_Text]) -> list[_Answer]:
        """Answers to pairs of image and phrase."""
        with self._clock.stage("decode_masks"):
            output = self._forward(images, texts)
            scores = instance_scores(output.pred_logits, output.presence_logits)
            presence = output.presence_logits.float().sigmoid()
        with self._clock.stage("masks"):
            best, present = scores.amax(dim=1).tolist(), presence.reshape(-1).tolist()
            return [
                _Answer(
                    run_lengths=phrase_mask(masks, own > self._threshold, image.prepared.original_size_hw),
                    score=best[i],
                    presence=present[i],
                )
                for i, (image, masks, own) in enumerate(zip(images, output.pred_masks, scores, strict=True))
            ]

    def _forward(self, images: Sequence[EncodedSam3Image], texts: Sequence[_Text]) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        features = [torch.stack(level) for level in zip(*(image.features for image in images), strict=True)]
        positions = [torch.stack(level) for level in zip(*(image.positions for image in images), strict=True)]
        vision = Sam3VisionEncoderOutput(  # the model leaves the last level out, whatever it is
            fpn_hidden_states=(*features, features[-1]), fpn_position_encoding=(*positions, positions[-1])
        )
        text = BaseModelOutputWithPooling(pooler_output=torch.stack([one.embedding for one in texts]))
        attention = torch.stack([one.attention_mask for one in texts])
        return self._model(vision_embeds=vision, text_embeds=text, attention_mask=attention)

    def _result(self, image: Sam3Image, answers: Sequence[_Answer], texts: Sequence[_Text]) -> AnnotationResult:
        scores = np.array([answer.score for answer in answers], dtype=np.float32)
        visual = self._preprocessor.num_visual_tokens
        everything = np.arange(visual)
        return AnnotationResult(
            scores=scores,
            predicted_iou=scores,
            run_lengths=[answer.run_lengths for answer in answers],
            low_res_logits=None,
            mask_prompts=np.zeros((len(answers), 0), dtype=np.float32),
            retained=[everything] * len(answers),
            num_visual_tokens=visual,
            num_retained_tokens=visual,
            num_prompts=len(answers),
            num_text_tokens=sum(text.num_tokens for text in texts),
            size_hw=image.original_size_hw,
            absent_probability=np.array([1.0 - answer.presence for answer in answers], dtype=np.float32),
        )
