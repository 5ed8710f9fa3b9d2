"""The public engine: requests in, masks out, batched over images and phrases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litelvlm.checkpoint import Checkpoint, open_checkpoint
from litelvlm.clip_encoder import ClipFeatures
from litelvlm.clip_tokenizer import load_clip_tokenizer
from litelvlm.config import LAYOUTS, GlammConfig, PromptTemplate, PruningConfig
from litelvlm.engine.clock import StageClock
from litelvlm.engine.device import resolve_device, resolve_dtype
from litelvlm.engine.memory import BatchLimit
from litelvlm.engine.packing import packed_length
from litelvlm.engine.request import AnnotationRequest, AnnotationResult
from litelvlm.engine.retention import ImagePrompt, Retained
from litelvlm.engine.runner import Runner
from litelvlm.engine.scheduler import image_batches, prompt_batches
from litelvlm.glamm import GlammModel
from litelvlm.loading import load_model
from litelvlm.preprocess import PreparedImage, Preprocessor
from litelvlm.prompts import build_prompts
from litelvlm.scores import confidence, stability

_UNLIMITED = 2**31  # images: the caller's batch is the limit until memory says otherwise


class Annotator:
    """GLaMM with visual-token pruning, ready to annotate.

    Build it with `from_pretrained`. Results do not depend on how requests are batched.
    """

    def __init__(self, checkpoint: Checkpoint, model: GlammModel) -> None:
        self.checkpoint = checkpoint
        self.model = model
        self.preprocessor = Preprocessor(checkpoint.config, checkpoint.directory)
        self.clip_tokenizer = load_clip_tokenizer(checkpoint.clip_merges, checkpoint.config.clip.context_length)
        on_gpu = model.device.type == "cuda"
        self._runner = Runner(model, self.clip_tokenizer)
        self._clock = StageClock(model.device)
        self._auto_batch_images = 8 if on_gpu else 4
        self._limits = {
            "clip": BatchLimit(_UNLIMITED),
            "llm": BatchLimit(16384 if on_gpu else 2048),
            "sam": BatchLimit(_UNLIMITED),
            "decode_masks": BatchLimit(64 if on_gpu else 8),
        }
        if self.preprocessor.tokenizer.vocab_size > checkpoint.config.llm.vocab_size:
            raise ValueError(
                f"model: the tokeniser has {self.preprocessor.tokenizer.vocab_size} ids but the language model only "
                f"{checkpoint.config.llm.vocab_size}; tokeniser and weights do not belong together"
            )

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        clip: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
    ) -> Annotator:
        """Loads a checkpoint.

        Args:
            model: "demo", a directory, or a Hugging Face id (`id@revision`), in the published or the converted layout.
            clip: for the published layout, the CLIP towers: a Hugging Face directory or id; None is open_clip's
                `ViT-L-14-336` / `openai`.
            device: "cpu", "cuda", "cuda:1", …
            dtype: "float32" or "bfloat16".

        Raises:
            FileNotFoundError, ValueError: in one line, if the checkpoint is absent, damaged or another model's.
        """
        checkpoint = open_checkpoint(model, clip)
        return cls(checkpoint, load_model(checkpoint, resolve_device(device), resolve_dtype(dtype)))

    @property
    def config(self) -> GlammConfig:
        return self.checkpoint.config

    @property
    def num_visual_tokens(self) -> int:
        """V: visual tokens of an image before pruning."""
        return self.config.num_visual_tokens

    @property
    def revision(self) -> str:
        """Hash of the checkpoint's content."""
        return self.checkpoint.revision

    @property
    def batch_limits(self) -> dict[str, int]:
        """Largest micro-batch of each stage: images of `clip` and `sam`, padded tokens of `llm`, phrases of
        `decode_masks`. They shrink where the device runs out of memory."""
        return {stage: limit.size for stage, limit in self._limits.items()}

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each stage since the annotator was built."""
        return self._clock.seconds()

    @torch.inference_mode()
    def annotate(
        self,
        requests: Sequence[AnnotationRequest],
        pruning: PruningConfig | None = None,
        layout: str = "separate",
        template: PromptTemplate | None = None,
        batch_images: int | None = None,
    ) -> list[AnnotationResult]:
        """Masks for every phrase of every request, in order.

        Args:
            requests: images with their phrases.
            pruning: which visual tokens stay; None means all.
            layout: "separate" (a prompt per phrase), "rounds" (all phrases of an image in one conversation) or "shared"
                (one visual prefix per image, its tokens chosen for all phrases together, a branch per phrase).
            template: question and answer; the default is the release's first.
            batch_images: images encoded together; None chooses.

        Raises:
            ValueError: if an image is not HxWx3 uint8, or a phrase is empty or too long; the message names the request.
        """
        pruning, template = pruning or PruningConfig(), template or PromptTemplate()
        if layout not in LAYOUTS:
            raise ValueError(f"layout: {layout!r} is not known; choose one of {', '.join(LAYOUTS)}")
        if batch_images is not None and batch_images < 1:
            raise ValueError(f"batch_images: must be at least 1, not {batch_images}")
        phrases = [self._checked_phrases(i, request, template) for i, request in enumerate(requests)]
        results: dict[int, AnnotationResult] = {}
        for members in image_batches([len(p) for p in phrases], batch_images or self._auto_batch_images):
            images = [self._prepared(i, requests[i].image) for i in members]
            batch = self._run_batch(images, [phrases[i] for i in members], pruning, layout, template)
            results.update(zip(members, batch, strict=True))
        for i in set(range(len(requests))) - set(results):
            results[i] = self._empty_result(self._prepared(i, requests[i].image), pruning)
        return [results[i] for i in range(len(requests))]

    def _checked_phrases(self, index: int, request: AnnotationRequest, template: PromptTemplate) -> list[str]:
        if isinstance(request.phrases, str):
            raise ValueError(f"requests[{index}].phrases: must be a list of strings, not one string")
        checked = []
        for number, phrase in enumerate(request.phrases):
            try:
                checked.append(self.preprocessor.check_phrase(phrase, template))
            except ValueError as error:
                raise ValueError(f"requests[{index}].phrases[{number}]: {error}") from error
        return checked

    def _prepared(self, index: int, image: np.ndarray | PreparedImage) -> PreparedImage:
        if isinstance(image, PreparedImage):
            return image
        try:
            return self.preprocessor.prepare(image)
        except ValueError as error:
            raise ValueError(f"requests[{index}].{error}") from error

    def _run_batch(
        self,
        images: list[PreparedImage],
        phrases: list[list[str]],
        pruning: PruningConfig,
        layout: str,
        template: PromptTemplate,
    ) -> list[AnnotationResult]:
        prompts = self._prompts(phrases, template, layout, self._max_text_tokens(pruning))
        with self._clock.stage("clip"):
            features = self._clip_features(images)
        with self._clock.stage("prune"):
            retained = self._runner.retain(features, prompts, [image.content_seed for image in images], pruning)
        with self._clock.stage("llm"):
            mask_prompts, kept = self._mask_prompts(features, prompts, retained, pruning)
        with self._clock.stage("sam"):
            embeddings = self._limits["sam"].run(
                range(len(images)), lambda part: self._runner.encode_sam([images[i] for i in part])
            )
        with self._clock.stage("decode_masks"):
            image_index = [item.image_index for item in prompts for _ in item.prompt.phrase_indices]
            logits, iou = self._decoded(torch.cat([part for _, part in embeddings]), image_index, mask_prompts)
            scores = self._scores(logits, iou, [images[i] for i in image_index])
        outputs = (scores, iou, logits, mask_prompts)
        return self._results(images, phrases, prompts, kept, *(output.cpu().numpy() for output in outputs))

    def _clip_features(self, images: list[PreparedImage]) -> ClipFeatures:
        parts = self._limits["clip"].run(
            range(len(images)), lambda part: self._runner.encode_clip([images[i] for i in part])
        )
        return ClipFeatures(*(torch.cat(tensors) for tensors in zip(*(part for _, part in parts), strict=True)))

    def _mask_prompts(
        self, features: ClipFeatures, prompts: list[ImagePrompt], retained: Retained, pruning: PruningConfig
    ) -> tuple[Tensor, Tensor]:
        """PxC mask prompts of all prompts' phrases, and NxR the patches that each prompt kept, in order."""
        visual = self._runner.project(features, retained)
        lengths = [packed_length(item.prompt, retained.num_tokens) for item in prompts]
        answered = self._limits["llm"].run(
            range(len(prompts)),
            lambda group: self._runner.prefill(visual, [prompts[i] for i in group], retained.of(group), pruning),
            plan=lambda left, size: [[left[i] for i in g] for g in prompt_batches([lengths[i] for i in left], size)],
            cost=lambda group: len(group) * max(lengths[i] for i in group),
        )
        by_prompt = {i: pair for group, both in answered for i, *pair in zip(group, *both, strict=True)}
        answers, kept = zip(*(by_prompt[i] for i in range(len(prompts))), strict=True)
        return torch.cat(answers), torch.stack(kept)

    def _decoded(self, embeddings: Tensor, image_index: list[int], mask_prompts: Tensor) -> tuple[Tensor, Tensor]:
        """PxLxL low-resolution logits and P predicted IoU."""
        parts = self._limits["decode_masks"].run(
            range(len(image_index)),
            lambda part: self._runner.decode(embeddings, [image_index[i] for i in part], mask_prompts[part]),
        )
        logits, iou = zip(*(part for _, part in parts), strict=True)
        return torch.cat(logits), torch.cat(iou)

    def _max_text_tokens(self, pruning: PruningConfig) -> int:
        whole = self.num_visual_tokens
        visual = whole if pruning.uses_original_positions else pruning.entering(whole)
        return self.config.llm.max_position_embeddings - visual

    def _prompts(
        self, phrases: list[list[str]], template: PromptTemplate, layout: str, max_text_tokens: int
    ) -> list[ImagePrompt]:
        tokenizer = self.preprocessor.tokenizer
        return [
            ImagePrompt(
                image_index=index,
                prompt=prompt,
                questions=tuple(
                    template.ask(asked[i]) for i in (prompt.phrase_indices if layout != "shared" else range(len(asked)))
                ),
            )
            for index, asked in enumerate(phrases)
            for prompt in build_prompts(asked, template, tokenizer, layout=layout, max_text_tokens=max_text_tokens)
        ]

    def _scores(self, logits: Tensor, iou: Tensor, images: list[PreparedImage]) -> Tensor:
        """Confidences of P masks; the padding that the image does not cover is left out."""
        side, target = self.config.sam.low_res_size, self.config.sam.image_size
        sizes = [image.sam_pixels.shape[:2] for image in images]
        rows, columns = (torch.tensor([-(-size[axis] * side // target) for size in sizes]) for axis in (0, 1))
        index = torch.arange(side, device=logits.device)
        inside = (index[None, :, None] < rows.to(logits.device)[:, None, None]) & (
            index[None, None, :] < columns.to(logits.device)[:, None, None]
        )
        stable = stability(logits.masked_fill(~inside, float("-inf")))
        return confidence(iou, stable, self.config.calibration)

    def _results(
        self,
        images: list[PreparedImage],
        phrases: list[list[str]],
        prompts: list[ImagePrompt],
        retained: Tensor,
        scores: np.ndarray,
        iou: np.ndarray,
        logits: np.ndarray,
        mask_prompts: np.ndarray,
    ) -> list[AnnotationResult]:
        kept = retained.cpu().numpy()
        results, start = [], 0
        for index, (image, asked) in enumerate(zip(images, phrases, strict=True)):
            span = slice(start, start + len(asked))
            own = [row for row, item in enumerate(prompts) if item.image_index == index]
            results.append(
                AnnotationResult(
                    scores=scores[span],
                    predicted_iou=iou[span],
                    low_res_logits=logits[span],
                    mask_prompts=mask_prompts[span],
                    retained=[kept[row] for row in own for _ in prompts[row].prompt.phrase_indices],
                    num_visual_tokens=self.num_visual_tokens,
                    num_retained_tokens=kept.shape[1],
                    num_prompts=len(own),
                    num_text_tokens=sum(prompts[row].prompt.num_text_tokens for row in own),
                    **self._geometry(image),
                )
            )
            start = span.stop
        return results

    def _empty_result(self, image: PreparedImage, pruning: PruningConfig) -> AnnotationResult:
        sam, none = self.config.sam, np.zeros(0, dtype=np.float32)
        return AnnotationResult(
            scores=none,
            predicted_iou=none,
            low_res_logits=np.zeros((0, sam.low_res_size, sam.low_res_size), dtype=np.float32),
            mask_prompts=np.zeros((0, sam.output_channels), dtype=np.float32),
            retained=[],
            num_visual_tokens=self.num_visual_tokens,
            num_retained_tokens=pruning.budget(self.num_visual_tokens),
            num_prompts=0,
            num_text_tokens=0,
            **self._geometry(image),
        )

    def _geometry(self, image: PreparedImage) -> dict:
        height, width = image.sam_pixels.shape[:2]
        return {
            "size_hw": image.original_size_hw,
            "input_size_hw": (height, width),
            "input_size": self.config.sam.image_size,
            "device": self.model.device,
        }
