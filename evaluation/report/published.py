"""The published numbers, to stand beside one's own: cIoU of GLaMM-RefSeg with seven ways to prune.

They are the paper's, see `source` in `published.json`; nothing here was measured by this project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

AVERAGE = "avg"
#: The paper's names -> the rules of `litelvlm.config.RULES`. Its LiteLVLM is the release's code.
RULE_OF = {
    "GLaMM": "none",
    "TRIM": "trim",
    "FastV": "fastv",
    "LLaVA-PruMerge": "prumerge",
    "VisionZip": "visionzip",
    "VisPruner": "vispruner",
    "LiteLVLM": "release",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published value: the method's name, its rule here, the tokens it kept of `num_visual_tokens`, cIoU from 0 to 1.

    `of_unpruned` is its share of the unpruned model's cIoU on the same split.
    """

    method: str
    rule: str
    num_retain_tokens: int
    num_visual_tokens: int
    ciou: float
    of_unpruned: float


def source() -> str:
    """Where the numbers are from: the paper, which version of them, and when they were read."""
    content = _content()
    return f"{content['source']}; {content['version']}; read on {content['read_on']}"


def splits() -> tuple[str, ...]:
    """Names of the data sets that have published numbers, e.g. `refcoco_val`; without the average."""
    return tuple(name for name in _content()["columns"] if name != AVERAGE)


def published(split: str) -> list[Published]:
    """All published values of a split, or of `avg`. Raises ValueError for a name without any."""
    content = _content()
    if split not in content["columns"]:
        raise ValueError(f"no published numbers for {split!r}; there are {', '.join(content['columns'])}")
    column = content["columns"].index(split)
    total = content["num_visual_tokens"]
    unpruned = content["ciou"][str(total)]["GLaMM"][column]
    return [
        Published(
            method=method,
            rule=RULE_OF[method],
            num_retain_tokens=int(tokens),
            num_visual_tokens=total,
            ciou=values[column] / 100,
            of_unpruned=values[column] / unpruned,
        )
        for tokens, methods in content["ciou"].items()
        for method, values in methods.items()
    ]


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    return json.loads(
        resources.files("litelvlm.evaluation.report").joinpath("published.json").read_text(encoding="utf-8")
    )
