"""What `jobs/similarity.py` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, MaxLen

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.settings import Flag, Part, Settings

TEXTS = ("question", "phrase")
#: Settings of an annotation run that have no meaning here.
_NOT_ASKED = (
    "ontology",
    "shard_images",
    "num_retain_tokens",
    "rule",
    "order",
    "positions",
    "layout",
    "answer",
    "formulation",
    "signals",
    "num_actors",
    "gpus_per_actor",
    "ray_address",
    "num_cpus",
    "wait_for_resources",
    "baseline_images",
    "gpu_price",
    "write_images",
    "skip_reviewed",
)


@dataclass(frozen=True, kw_only=True)
class WhatIsCompared(Settings):
    """What is compared: which text with which patches."""

    section = "what is compared"

    text: Annotated[
        str, Flag("what CLIP reads: the question that asks for the phrase, as rules do, or the phrase", choices=TEXTS)
    ] = "question"
    inside: Annotated[
        float, Flag("a patch is inside if the true mask fills this share of it; all others are outside"), Gt(0), Le(1)
    ] = 0.5
    examples: Annotated[
        int, Flag("pictures of the lowest, of middle and of the highest AUROC, so many of each"), Ge(0), Le(20)
    ] = 3


@dataclass(frozen=True, kw_only=True)
class SimilarityConfig(Settings):
    """One run of `jobs/similarity.py`; `run` says what is read, with which model and to which output."""

    section = "output"

    comparison: WhatIsCompared = field(default_factory=WhatIsCompared)
    run: Annotated[RunConfig, Part(without=_NOT_ASKED, defaults=(("mask_column", "masks"),))]
    dataset: Annotated[str, Flag("name in the outputs", unset="the input's name"), MaxLen(100)] = ""
    bootstrap_samples: Annotated[int, Flag("for confidence intervals by image"), Ge(0)] = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run.source.mask_column:
            raise ValueError("--mask-column is missing: patches are told apart by true masks")
        if self.run.model.precision == "fp8":
            raise ValueError("--precision fp8: CLIP's towers have no such form here; use bf16 or fp32")
        name = self.dataset or Path(self.run.source.input[0]).name.removesuffix(".parquet")[:100]
        object.__setattr__(self, "dataset", name)
