"""The model as a similarity run knows it: its CLIP towers, its question and its preprocessing."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from litelvlm.checkpoint import open_towers
from litelvlm.evaluation.engine import LiteLVLMEvaluation

if TYPE_CHECKING:
    from litelvlm import Preprocessor


@dataclass(frozen=True, kw_only=True)
class Towers(LiteLVLMEvaluation):
    """`--clip` stands in for the towers of any checkpoint, converted ones included."""

    def revision(self) -> str:
        """Hash of the checkpoint and of the towers in its place."""
        return open_towers(self.model.model, self.model.clip).revision

    def preprocessor(self) -> Preprocessor:
        """For images as these towers see them."""
        return _preprocessor(self.model.model, self.model.clip, self.model.resizing)


@functools.lru_cache(maxsize=2)
def _preprocessor(model: str, clip: str | None, resizing: str) -> Preprocessor:
    from litelvlm import Preprocessor

    checkpoint = open_towers(model, clip)
    return Preprocessor(checkpoint.config, checkpoint.directory, resizing)
