"""The only door from the pipeline to the model. Tests hand in another engine with the same methods."""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass
from typing import Any, Protocol

from litelvlm.pipeline.config import ModelConfig

_DTYPES = {"bf16": "bfloat16", "fp32": "float32", "fp8": "float8"}


class Engine(Protocol):
    """Describes a model; picklable, and cheap until a worker calls `annotator`.

    `revision` identifies the model; `check` validates all that can be seen without its weights, and
    returns remarks for the user.

    `annotator` and `preprocessor` return objects with the interface of `litelvlm.Annotator` and
    `litelvlm.Preprocessor`.
    """

    def revision(self) -> str: ...

    def check(self) -> list[str]: ...

    def on_device(self, device: str) -> Engine: ...

    def annotator(self, num_threads: int | None) -> Any: ...

    def preprocessor(self) -> Any: ...

    @property
    def scores_text(self) -> bool: ...

    def tokens_read(self, visual_tokens: int, retained_tokens: int, num_layers: int) -> int: ...

    def check_phrase(self, preprocessor: Any, phrase: str) -> str: ...

    def annotate(
        self, annotator: Any, images: list[Any], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[Any]: ...


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
        """Validate every setting against `litelvlm`, and the checkpoint: configuration, tokeniser and tensor shapes.

        Returns remarks, a line each, on settings that have no effect.

        Raises:
            ValueError, OSError: naming the setting, file or tensors that do not fit.
        """
        from litelvlm.checkpoint import open_checkpoint
        from litelvlm.loading import check_checkpoint

        self._pruning(unpruned=False)
        self._template()
        self.preprocessor()
        check_checkpoint(open_checkpoint(self.model.model, self.model.clip))
        num_tokens, budget = self.preprocessor().config.num_visual_tokens, self.model.num_retain_tokens
        if self.model.rule != "none" and (budget is None or budget >= num_tokens):
            asked = self.model.tokens_in_words
            return [f"nothing is pruned: the model has {num_tokens} visual tokens and --num-retain-tokens is {asked}"]
        return []

    def on_device(self, device: str) -> LiteLVLMEngine:
        """The same model on `cpu` or `cuda`."""
        return dataclasses.replace(self, device=device)

    def annotator(self, num_threads: int | None) -> Any:
        """Load the model on its device. Raises ValueError or FileNotFoundError where the checkpoint does not fit."""
        import torch

        from litelvlm import Annotator

        if self.device == "cpu":
            torch.set_num_threads(num_threads or os.cpu_count() or 1)
        return Annotator.from_pretrained(self.model.model, clip=self.model.clip, device=self.device, dtype=self.dtype)

    @property
    def dtype(self) -> str:
        """`float32`, `bfloat16` or `float8`: as asked, or what suits the device."""
        if self.model.precision == "auto":
            return "float32" if self.device == "cpu" else "bfloat16"
        return _DTYPES[self.model.precision]

    def preprocessor(self) -> Any:
        """Config and tokenizer, loaded once per process. Raises as `annotator` does."""
        return _preprocessor(self.model.model, self.model.clip, self.model.resizing)

    def check_phrase(self, preprocessor: Any, phrase: str) -> str:
        """The phrase as it enters the prompt. Raises ValueError with the reason why it cannot."""
        return preprocessor.check_phrase(phrase, self._template())

    def annotate(
        self, annotator: Any, images: list[Any], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[Any]:
        """Annotate prepared images, one result each, in order."""
        from litelvlm import AnnotationRequest

        requests = [AnnotationRequest(image=image, phrases=asked) for image, asked in zip(images, phrases, strict=True)]
        return annotator.annotate(
            requests,
            pruning=self._pruning(unpruned=unpruned),
            layout=self.model.layout,
            template=self._template(),
            batch_images=self.batch_images,
            keep_logits=False,
        )

    @property
    def scores_text(self) -> bool:
        """Whether the pruning rule compares visual tokens with the question."""
        from litelvlm.rules.registry import RULE_BOOK

        return self.model.rule in RULE_BOOK and "similarity" in RULE_BOOK[self.model.rule].needs

    def tokens_read(self, visual_tokens: int, retained_tokens: int, num_layers: int) -> int:
        """Visual tokens that the language model's layers read on average, where so many of all are retained in the
        end."""
        pruning = self._pruning(unpruned=False)
        if not pruning.inside_llm:
            return retained_tokens
        whole = min(pruning.fastv_layer, num_layers)
        return (whole * visual_tokens + (num_layers - whole) * retained_tokens) // num_layers

    def _pruning(self, *, unpruned: bool) -> Any:
        from litelvlm import PruningConfig

        if unpruned:
            return PruningConfig(num_retain_tokens=None, rule="none")
        model = self.model
        return PruningConfig(
            num_retain_tokens=model.num_retain_tokens, rule=model.rule, order=model.order, positions=model.positions
        )

    def _template(self) -> Any:
        from litelvlm import PromptTemplate

        return PromptTemplate(question=self.model.question, answer=self.model.answer)


def device_is_broken(error: BaseException) -> bool:
    """Whether the device takes no further work from this process, as after an illegal memory access."""
    import torch

    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "AcceleratorError" or "CUDA error: " in str(error)


@functools.lru_cache(maxsize=2)
def _preprocessor(model: str, clip: str | None, resizing: str) -> Any:
    from litelvlm import Preprocessor

    return Preprocessor.from_pretrained(model, clip=clip, resizing=resizing)
