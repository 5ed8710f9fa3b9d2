"""The only door from the pipeline to the model. Tests hand in another engine with the same methods."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.config import DEMO_REMARK, ModelConfig
from litelvlm.pipeline.cpus import num_usable

if TYPE_CHECKING:
    import torch

    from litelvlm import (
        AnnotationResult,
        Annotator,
        PreparedImage,
        Preprocessor,
        PromptTemplate,
        PruningConfig,
    )

_DTYPES = {"bf16": "bfloat16", "fp32": "float32", "fp8": "float8"}


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """What went through a model, added up over any number of calls, as in the columns of the throughput table."""

    images: int = 0
    prompts: int = 0
    phrases: int = 0
    visual_tokens: int = 0
    retained_tokens: int = 0
    text_tokens: int = 0


class LoadedModel(Protocol):
    """A model with its weights, as far as the pipeline looks at it."""

    @property
    def device(self) -> torch.device: ...

    @property
    def formulation(self) -> object:
        """How its parts compute, for the throughput table."""
        ...

    @property
    def stage_seconds(self) -> Mapping[str, float]:
        """Seconds so far by stage, of `pipeline.schemas.MODEL_STAGES`."""
        ...


class ImagePreprocessor(Protocol):
    """Prepares images without the weights. Nobody but the engine looks into what it returns; it is pickled."""

    def needed_size(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """The least size to which an image of this one may be decoded; None where all of it is needed."""
        ...

    def prepare(self, image: NDArray[np.uint8], original_size_hw: tuple[int, int] | None = None) -> Any:
        """Of HxWx3 RGB, upright. Raises ValueError for another shape or dtype."""
        ...


class Engine(Protocol):
    """Describes a model; picklable, and cheap until a worker calls `annotator`.

    What `annotator` and `preprocessor` return comes back as an argument, and is the engine's own business.
    """

    def revision(self) -> str:
        """Identifies the model."""
        ...

    def check(self) -> list[str]:
        """Validate all that can be seen without the weights. Returns remarks for the user."""
        ...

    def check_weights(self) -> None:
        """Look at the weights without loading them. Raises ValueError or OSError naming what does not fit."""
        ...

    def on_device(self, device: str) -> Self: ...

    def annotator(self, num_threads: int | None) -> LoadedModel: ...

    def preprocessor(self) -> ImagePreprocessor: ...

    def check_phrase(self, preprocessor: Any, phrase: str) -> str: ...

    def annotate(
        self, annotator: Any, images: list[Any], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[AnnotationResult]: ...

    def needed_tflop(self, done: Annotated) -> float | None:
        """Needed operations, 1e12; None for a model whose sizes are not known."""
        ...

    def tflop_an_image(self, phrases: Sequence[str], layout: str) -> float | None:
        """The same for an image that is asked these phrases in a layout."""
        ...


@dataclass(frozen=True, kw_only=True)
class LiteLVLMEngine:
    """The real model: what `litelvlm` needs to know to load and to annotate."""

    model: ModelConfig
    device: str = "cpu"
    batch_images: int | None = None

    def revision(self) -> str:
        """Hash of the checkpoint. Raises FileNotFoundError or ValueError where there is none."""
        from litelvlm.checkpoint import open_checkpoint

        return open_checkpoint(self.model.model, self.model.clip).revision

    def check(self) -> list[str]:
        """Validate settings, and the checkpoint's configuration and tokeniser, without torch but where a
        signal needs weights of its own.

        Returns remarks, a line each, on settings that have no effect.

        Raises:
            ValueError, OSError: naming the setting or file that does not fit.
        """
        self._pruning(unpruned=False)
        self.template()
        self.preprocessor()
        self._check_signals()
        num_tokens, budget = self.preprocessor().config.num_visual_tokens, self.model.num_retain_tokens
        remarks = [DEMO_REMARK] if self.model.is_demo else []
        if self.model.rule != "none" and (budget is None or budget >= num_tokens):
            asked = self.model.tokens_in_words
            remarks.append(
                f"nothing is pruned: the model has {num_tokens} visual tokens and --num-retain-tokens is {asked}"
            )
        return remarks

    def _check_signals(self) -> None:
        if "seg" not in self.model.signals:
            return
        from litelvlm.checkpoint import open_checkpoint
        from litelvlm.loading import holds_lm_head

        if not holds_lm_head(open_checkpoint(self.model.model, self.model.clip)):
            raise ValueError(
                f"--signals seg needs lm_head.weight, which the checkpoint {self.model.model} does not hold: name a "
                "published one with --model (or convert it again), or leave seg out"
            )

    def check_weights(self) -> None:
        """Compare the tensors' shapes with the model's. Raises ValueError or OSError naming what does not fit."""
        from litelvlm.checkpoint import open_checkpoint
        from litelvlm.loading import check_checkpoint

        check_checkpoint(open_checkpoint(self.model.model, self.model.clip))

    def on_device(self, device: str) -> Self:
        """The same model on `cpu` or `cuda`."""
        return dataclasses.replace(self, device=device)

    def annotator(self, num_threads: int | None) -> Annotator:
        """Load the model on its device. Raises ValueError or FileNotFoundError where the checkpoint does not fit."""
        import torch

        from litelvlm import Annotator

        if self.device == "cpu":
            torch.set_num_threads(num_threads or num_usable())
        return Annotator.from_pretrained(
            self.model.model,
            clip=self.model.clip,
            device=self.device,
            dtype=self.dtype,
            lm_head="seg" in self.model.signals,
            formulation=self.model.formulation,
        )

    @property
    def dtype(self) -> str:
        """`float32`, `bfloat16` or `float8`: as asked, or what suits the device."""
        if self.model.precision == "auto":
            return "float32" if self.device == "cpu" else "bfloat16"
        return _DTYPES[self.model.precision]

    def preprocessor(self) -> Preprocessor:
        """Config and tokenizer, loaded once per process. Raises as `annotator` does."""
        return _preprocessor(self.model.model, self.model.clip, self.model.resizing)

    def check_phrase(self, preprocessor: Preprocessor, phrase: str) -> str:
        """The phrase as it enters the prompt. Raises ValueError with the reason why it cannot."""
        return preprocessor.check_phrase(phrase, self.template())

    def annotate(
        self, annotator: Annotator, images: list[PreparedImage], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[AnnotationResult]:
        """Annotate prepared images, one result each, in order."""
        from litelvlm import AnnotationRequest

        requests = [AnnotationRequest(image=image, phrases=asked) for image, asked in zip(images, phrases, strict=True)]
        return annotator.annotate(
            requests,
            pruning=self._pruning(unpruned=unpruned),
            layout=self.model.layout,
            template=self.template(),
            batch_images=self.batch_images,
            keep_logits=False,
            signals=self.model.signals,
        )

    def needed_tflop(self, done: Annotated) -> float | None:
        """Needed operations, 1e12, by the model's sizes."""
        from litelvlm.flops import Workload, needed_flop

        config = self.preprocessor().config
        pruned = done.retained_tokens < done.visual_tokens
        work = Workload(
            images=done.images,
            prompts=done.prompts,
            phrases=done.phrases,
            retained_tokens=self._tokens_read(done, config.llm.num_hidden_layers),
            text_tokens=done.text_tokens,
            scored_texts=done.phrases if pruned and self._scores_text() else 0,
            shared=self.model.layout == "shared",
        )
        return sum(needed_flop(config, work).values()) / 1e12

    def tflop_an_image(self, phrases: Sequence[str], layout: str) -> float:
        """Needed operations, 1e12, for one image that is asked these phrases in a layout, by the model's sizes."""
        from litelvlm.prompts import build_prompts

        config, pruning, template = self.preprocessor().config, self._pruning(unpruned=False), self.template()
        visual = config.num_visual_tokens
        prompts = build_prompts(
            [self.check_phrase(self.preprocessor(), phrase) for phrase in phrases],
            template,
            self.preprocessor().tokenizer,
            layout=layout,
            max_text_tokens=config.llm.max_position_embeddings - visual,
        )
        done = Annotated(
            images=1,
            prompts=len(prompts),
            phrases=len(phrases),
            visual_tokens=len(prompts) * visual,
            retained_tokens=len(prompts) * min(pruning.num_retain_tokens or visual, visual),
            text_tokens=sum(prompt.num_text_tokens for prompt in prompts),
        )
        return dataclasses.replace(self, model=dataclasses.replace(self.model, layout=layout)).needed_tflop(done) or 0.0

    def _scores_text(self) -> bool:
        """Whether the pruning rule compares visual tokens with the question."""
        from litelvlm.rules.registry import RULE_BOOK

        return self.model.rule in RULE_BOOK and "similarity" in RULE_BOOK[self.model.rule].needs

    def _tokens_read(self, done: Annotated, num_layers: int) -> int:
        """Visual tokens that the language model's layers read on average."""
        pruning = self._pruning(unpruned=False)
        if not pruning.inside_llm:
            return done.retained_tokens
        whole = min(pruning.fastv_layer, num_layers)
        return (whole * done.visual_tokens + (num_layers - whole) * done.retained_tokens) // num_layers

    def _pruning(self, *, unpruned: bool) -> PruningConfig:
        from litelvlm import PruningConfig

        if unpruned:
            return PruningConfig(num_retain_tokens=None, rule="none")
        model = self.model
        return PruningConfig(
            num_retain_tokens=model.num_retain_tokens, rule=model.rule, order=model.order, positions=model.positions
        )

    def template(self) -> PromptTemplate:
        """How a phrase is asked: as configured, else as the model is asked by itself."""
        own, asked = self.preprocessor().config.template, self.model
        return dataclasses.replace(
            own,
            question=own.question if asked.question is None else asked.question,
            answer=own.answer if asked.answer is None else asked.answer,
            lower_case=asked.phrase_case == "lower",
        )


def device_is_broken(error: BaseException) -> bool:
    """Whether the device takes no further work from this process, as after an illegal memory access."""
    import torch

    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "AcceleratorError" or "CUDA error: " in str(error)


@functools.lru_cache(maxsize=2)
def _preprocessor(model: str, clip: str | None, resizing: str) -> Preprocessor:
    from litelvlm import Preprocessor

    return Preprocessor.from_pretrained(model, clip=clip, resizing=resizing)
