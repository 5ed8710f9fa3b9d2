"""GLaMM pixel grounding with LiteLVLM visual-token pruning: the model, the pruning rules and the batched engine.

This package knows no Ray, no Parquet and no storage; `pipeline` does. What needs torch is imported on first use, so
that workers which only prepare images start quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litelvlm.config import PromptTemplate, PruningConfig
    from litelvlm.engine.annotator import Annotator
    from litelvlm.engine.request import AnnotationRequest, AnnotationResult, EncodedImage
    from litelvlm.preprocess import PreparedImage, Preprocessor

_MODULES = {
    "AnnotationRequest": "litelvlm.engine.request",
    "AnnotationResult": "litelvlm.engine.request",
    "Annotator": "litelvlm.engine.annotator",
    "EncodedImage": "litelvlm.engine.request",
    "PreparedImage": "litelvlm.preprocess",
    "Preprocessor": "litelvlm.preprocess",
    "PromptTemplate": "litelvlm.config",
    "PruningConfig": "litelvlm.config",
}

__all__ = [
    "AnnotationRequest",
    "AnnotationResult",
    "Annotator",
    "EncodedImage",
    "PreparedImage",
    "Preprocessor",
    "PromptTemplate",
    "PruningConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
