"""The public engine: requests in, masks out, batched over images and phrases."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from litelvlm.checkpoint import Checkpoint, open_checkpoint
from litelvlm.clip_tokenizer import load_clip_tokenizer
from litelvlm.config import LAYOUTS, SEG_TOKEN, SIGNALS, GlammConfig, PromptTemplate, PruningConfig
from litelvlm.engine.batch import BatchRunner, ImageBatch, Launched
from litelvlm.engine.capacity import LEAST_TOKENS, images_at_once, micro_batches, tokens_read
from litelvlm.engine.clock import StageClock
from litelvlm.engine.device import resolve_device, resolve_dtype
from litelvlm.engine.memory import BatchLimit
from litelvlm.engine.race import choose
from litelvlm.engine.request import AnnotationRequest, AnnotationResult, EncodedImage
from litelvlm.engine.retention import ImagePrompt
from litelvlm.engine.runner import Runner
from litelvlm.engine.scheduler import image_batches
from litelvlm.formulation import AUTO
from litelvlm.glamm import GlammModel
from litelvlm.loading import load_model
from litelvlm.preprocess import PreparedImage, Preprocessor
from litelvlm.prompts import build_prompts


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A request that the model can take."""

    image: PreparedImage | EncodedImage
    phrases: list[str]
    templates: list[PromptTemplate]

    @property
    def prepared(self) -> PreparedImage:
        return self.image.prepared if isinstance(self.image, EncodedImage) else self.image


@dataclass(kw_only=True)
class _Call:
    """The requests of a call, how many of its batches are not collected, and results by request."""

    checked: list[_Checked]
    num_left: int
    results: dict[int, AnnotationResult] = field(default_factory=dict)


class Annotator:
    """GLaMM, LISA or another model of `litelvlm.models` with visual-token pruning, ready to annotate.

    Build it with `from_pretrained`. Results do not depend on how requests are batched.
    """

    def __init__(self, checkpoint: Checkpoint, model: GlammModel, *, formulation: str = AUTO) -> None:
        self.checkpoint = checkpoint
        self.model = model
        self.preprocessor = Preprocessor(checkpoint.config, checkpoint.directory)
        self.clip_tokenizer = load_clip_tokenizer(checkpoint.clip_merges, checkpoint.config.clip.context_length)
        on_gpu = model.device.type == "cuda"
        tokenizer, rejecting = self.preprocessor.tokenizer, checkpoint.config.description.reject_token
        self.formulation = choose(model, formulation)
        self._runner = Runner(
            model,
            self.clip_tokenizer,
            formulation=self.formulation,
            seg_id=tokenizer.token_id(SEG_TOKEN),
            reject_id=tokenizer.token_id(rejecting) if rejecting else None,
        )
        self._clock = StageClock(model.device)
        sizes = micro_batches(
            checkpoint.config,
            free_bytes=torch.cuda.mem_get_info(model.device)[0] if on_gpu else None,
            element_bytes=model.dtype.itemsize,
        )
        self._auto_batch_images = images_at_once(sizes, on_gpu=on_gpu)
        self._limits = {stage: BatchLimit(size) for stage, size in sizes.items()}
        self._batches = BatchRunner(self._runner, checkpoint.config, self._limits, self._clock)
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
        *,
        formulation: str = AUTO,
        lm_head: bool = False,
    ) -> Annotator:
        """Loads a checkpoint.

        Args:
            model: "demo", a directory, or a Hugging Face id (`id@revision`), in the published or the converted layout.
            clip: for the published layout, the CLIP towers: a Hugging Face directory or id; None is open_clip's
                `ViT-L-14-336` / `openai`, or `ViT-L-14` where the model was trained with that.
            device: "cpu", "cuda", "cuda:1", …
            dtype: "float32", "bfloat16" or, on a GPU, "float8" (`litelvlm.precision`).
            formulation: "auto", on a GPU a short race; or what `litelvlm.formulation.parse_formulation` takes.
            lm_head: whether the language model's output layer is loaded, which the signal "seg" needs; a model that may
                reject phrases has it in any case.

        Raises:
            FileNotFoundError, ValueError: in one line, if the checkpoint is absent, damaged or another model's.
        """
        checkpoint = open_checkpoint(model, clip)
        lm_head = lm_head or checkpoint.config.description.reject_token is not None
        model_on_device = load_model(checkpoint, resolve_device(device), resolve_dtype(dtype), lm_head=lm_head)
        return cls(checkpoint, model_on_device, formulation=formulation)

    @property
    def config(self) -> GlammConfig:
        return self.checkpoint.config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

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
        `decode_masks` and `masks`. They shrink where the device runs out of memory."""
        return {stage: limit.size for stage, limit in self._limits.items()}

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each stage since the annotator was built."""
        return self._clock.seconds()

    def annotate(
        self,
        requests: Sequence[AnnotationRequest],
        pruning: PruningConfig | None = None,
        layout: str = "separate",
        template: PromptTemplate | None = None,
        batch_images: int | None = None,
        *,
        keep_logits: bool = True,
        signals: Collection[str] = (),
    ) -> list[AnnotationResult]:
        """Masks for every phrase of every request, in order.

        Args:
            requests: images with their phrases.
            pruning: which visual tokens stay; None means all.
            layout: "separate" (a prompt per phrase), "rounds" (all phrases of an image in one conversation) or "shared"
                (one visual prefix per image, its tokens chosen for all phrases together, a branch per phrase).
            template: question and answer; the default is the model's own (`litelvlm.models`).
            batch_images: images encoded together; None chooses.
            keep_logits: whether results hold low-resolution logits, L*L*4 bytes a phrase.
            signals: what else results say of a mask: "seg" is `seg_probability`, for which `lm_head` has to be loaded,
                "clip" is `clip_similarity`.

        Raises:
            ValueError: if an image is not HxWx3 uint8, or a phrase is empty or too long; the message names the request.
        """
        (results,) = self.annotate_each(
            [requests], pruning, layout, template, batch_images, keep_logits=keep_logits, signals=signals
        )
        return results

    @torch.inference_mode()
    def annotate_each(
        self,
        calls: Iterable[Sequence[AnnotationRequest]],
        pruning: PruningConfig | None = None,
        layout: str = "separate",
        template: PromptTemplate | None = None,
        batch_images: int | None = None,
        *,
        keep_logits: bool = True,
        signals: Collection[str] = (),
    ) -> Iterator[list[AnnotationResult]]:
        """As `annotate` for one call after another, in order and in the same batches; the first batch of a call is
        launched before the last of the call before it is collected, so that the device never waits between calls.

        An error ends it: results that are out are good, those of other calls are lost.
        """
        pruning = (pruning or PruningConfig()).for_model(self.config.description)
        template = template or self.config.template
        if layout not in LAYOUTS:
            raise ValueError(f"layout: {layout!r} is not known; choose one of {', '.join(LAYOUTS)}")
        if batch_images is not None and batch_images < 1:
            raise ValueError(f"batch_images: must be at least 1, not {batch_images}")
        self._check_signals(signals)
        begun: list[_Call] = []  # calls whose results are not out
        launched: tuple[_Call, list[int], Launched] | None = None
        for requests in calls:
            checked = [self._checked(i, request, template) for i, request in enumerate(requests)]
            groups = self._groups([len(one.phrases) for one in checked], pruning, layout, batch_images)
            begun.append(call := _Call(checked=checked, num_left=len(groups)))
            for members in groups:
                batch = self._batch([checked[i] for i in members], pruning, layout, compare="clip" in signals)
                before = launched
                launched = call, members, self._batches.launch(batch, pruning, keep_logits=keep_logits)
                if before:
                    self._collect(*before)
                while begun[0].num_left == 0:
                    yield self._in_order(begun.pop(0), pruning, signals, keep_logits=keep_logits)
        if launched:
            self._collect(*launched)
        for call in begun:
            yield self._in_order(call, pruning, signals, keep_logits=keep_logits)

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray | PreparedImage]) -> list[EncodedImage]:
        """Both image encoders' output, to be asked several times: `AnnotationRequest(image=…)` takes it.

        Args:
            images: HxWx3 uint8 RGB, upright, or prepared.

        Raises:
            ValueError: if an image is not HxWx3 uint8; the message names it.
        """
        prepared = [self._prepared(f"images[{i}]", image) for i, image in enumerate(images)]
        parts = (prepared[i : i + self._auto_batch_images] for i in range(0, len(prepared), self._auto_batch_images))
        return [encoded for part in parts for encoded in self._batches.encode(part)]

    @torch.inference_mode()
    def embed(self, phrases: Sequence[str], template: PromptTemplate | None = None) -> None:
        """Remember CLIP's embeddings of phrases' questions, each computed by itself: `annotate` computes those that it
        does not know together, which rounds differently, and a choice of tokens that is close may turn with that.

        Raises:
            ValueError: a phrase is empty or too long.
        """
        template = template or self.config.template
        for phrase in phrases:
            self._runner.embed_questions([template.ask(self.preprocessor.check_phrase(phrase, template))])

    def _collect(self, call: _Call, members: list[int], launched: Launched) -> None:
        call.results.update(zip(members, self._batches.collect(launched), strict=True))
        call.num_left -= 1

    def _in_order(
        self, call: _Call, pruning: PruningConfig, signals: Collection[str], *, keep_logits: bool
    ) -> list[AnnotationResult]:
        """All results of a call, those of images that nothing was asked among them."""
        for i, one in enumerate(call.checked):
            if i not in call.results:
                call.results[i] = self._empty_result(one.prepared, pruning, signals, keep_logits=keep_logits)
        in_order = [call.results[i] for i in range(len(call.checked))]
        return in_order if "seg" in signals else [dataclasses.replace(one, seg_probability=None) for one in in_order]

    def _checked(self, index: int, request: AnnotationRequest, template: PromptTemplate) -> _Checked:
        """The request with its phrases normalised and its image prepared."""
        where = f"requests[{index}]"
        if isinstance(request.phrases, str):
            raise ValueError(f"{where}.phrases: must be a list of strings, not one string")
        templates = [template] * len(request.phrases) if request.templates is None else list(request.templates)
        if len(templates) != len(request.phrases):
            raise ValueError(f"{where}.templates: must be as many as phrases, not {len(templates)}")
        phrases = []
        for number, (phrase, own) in enumerate(zip(request.phrases, templates, strict=True)):
            try:
                phrases.append(self.preprocessor.check_phrase(phrase, own))
            except ValueError as error:
                raise ValueError(f"{where}.phrases[{number}]: {error}") from error
        image = request.image if isinstance(request.image, EncodedImage) else self._prepared(where, request.image)
        return _Checked(image=image, phrases=phrases, templates=templates)

    def _prepared(self, where: str, image: np.ndarray | PreparedImage) -> PreparedImage:
        if isinstance(image, PreparedImage):
            return image
        try:
            return self.preprocessor.prepare(image)
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from error

    def _groups(
        self, num_phrases: list[int], pruning: PruningConfig, layout: str, batch_images: int | None
    ) -> list[list[int]]:
        """Which images make a batch: on a GPU, as many as give the language model enough to do."""
        if batch_images is not None or self.device.type != "cuda":
            return image_batches(num_phrases, batch_images or self._auto_batch_images)
        retained = pruning.entering(self.num_visual_tokens)
        tokens = [tokens_read(count, retained, layout) for count in num_phrases]
        return image_batches(num_phrases, self._auto_batch_images, tokens=tokens, least_tokens=LEAST_TOKENS)

    def _max_text_tokens(self, pruning: PruningConfig) -> int:
        whole = self.num_visual_tokens
        visual = whole if pruning.uses_original_positions else pruning.entering(whole)
        return self.config.llm.max_position_embeddings - visual

    def _check_signals(self, signals: Collection[str]) -> None:
        for name in signals:
            if name not in SIGNALS:
                raise ValueError(f"signals: {name!r} is not known; choose from {', '.join(SIGNALS)}")
        if "seg" in signals and self.model.lm_head is None:
            raise ValueError("signals: seg needs the language model's lm_head; load the model with lm_head=True")

    def _batch(
        self, requests: Sequence[_Checked], pruning: PruningConfig, layout: str, *, compare: bool = False
    ) -> ImageBatch:
        """The requests' images and prompts; to `compare` is to ask CLIP for the phrases' similarities."""
        tokenizer, max_text_tokens = self.preprocessor.tokenizer, self._max_text_tokens(pruning)
        prompts = []
        for index, request in enumerate(requests):
            texts = [one.ask(phrase) for one, phrase in zip(request.templates, request.phrases, strict=True)]
            for prompt in build_prompts(
                request.phrases, request.templates, tokenizer, layout=layout, max_text_tokens=max_text_tokens
            ):
                asked = prompt.phrase_indices if layout != "shared" else range(len(texts))
                questions = tuple(texts[i] for i in asked)
                prompts.append(ImagePrompt(image_index=index, prompt=prompt, questions=questions))
        return ImageBatch(
            images=[request.image for request in requests],
            num_phrases=[len(request.phrases) for request in requests],
            prompts=prompts,
            texts=[phrase for request in requests for phrase in request.phrases] if compare else None,
        )

    def _empty_result(
        self, image: PreparedImage, pruning: PruningConfig, signals: Collection[str], *, keep_logits: bool
    ) -> AnnotationResult:
        sam, none = self.config.sam, np.zeros(0, dtype=np.float32)
        rejects = self.config.description.reject_token is not None
        return AnnotationResult(
            scores=none,
            predicted_iou=none,
            run_lengths=[],
            low_res_logits=np.zeros((0, sam.low_res_size, sam.low_res_size), np.float32) if keep_logits else None,
            mask_prompts=np.zeros((0, sam.output_channels), dtype=np.float32),
            retained=[],
            num_visual_tokens=self.num_visual_tokens,
            num_retained_tokens=pruning.budget(self.num_visual_tokens),
            num_prompts=0,
            num_text_tokens=0,
            size_hw=image.original_size_hw,
            seg_probability=none if "seg" in signals else None,
            clip_similarity=none if "clip" in signals else None,
            absent_probability=none if rejects else None,
            absent=np.zeros(0, dtype=bool) if rejects else None,
        )
