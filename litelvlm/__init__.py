"""GLaMM pixel grounding with LiteLVLM visual-token pruning: the model, the pruning rules and the batched engine.

This package knows no Ray, no Parquet and no storage; `pipeline` does.
"""

from litelvlm.config import PromptTemplate, PruningConfig
from litelvlm.engine.annotator import Annotator
from litelvlm.engine.request import AnnotationRequest, AnnotationResult
from litelvlm.preprocess import PreparedImage, Preprocessor

__all__ = [
    "AnnotationRequest",
    "AnnotationResult",
    "Annotator",
    "PreparedImage",
    "Preprocessor",
    "PromptTemplate",
    "PruningConfig",
]
