"""What is compared, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Interval

from litelvlm.pipeline.config import StorageOptions
from litelvlm.pipeline.settings import Flag, Settings


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Settings):
    """Settings of `jobs/compare.py`."""

    a: Annotated[str, Flag("the --output of a finished run", positional=True)]
    b: Annotated[str, Flag("that of another over the same input", positional=True)]
    output: Annotated[str, Flag("directory of the comparison, new or empty", metavar="DIR")]
    agree_iou: Annotated[float, Flag("masks that overlap less disagree"), Interval(gt=0, le=1)] = 0.8
    worst: Annotated[int, Flag("pictures of each kind of disagreement"), Ge(0)] = 12
    gpu_price: Annotated[float | None, Flag("per GPU and hour, of both runs", unset="what each was given"), Ge(0)] = (
        None
    )
    storage_options: StorageOptions = field(default_factory=dict)
