"""The recorded cases, as the tests read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.torch import load_file

from litelvlm import PromptTemplate, PruningConfig

DATA = Path(__file__).parent / "data"
GLAMM_TINY = DATA / "glamm-tiny"
CLIP_TINY = DATA / "clip-tiny"


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    image: np.ndarray
    phrases: list[str]
    template: PromptTemplate
    pruning: PruningConfig
    masks: np.ndarray
    recorded: dict[str, torch.Tensor]


def load_cases() -> list[Case]:
    cases = json.loads((DATA / "cases.json").read_text(encoding="utf-8"))
    return [_load(values) for values in cases]


def _load(values: dict[str, Any]) -> Case:
    rles = [{"size": mask["size"], "counts": mask["counts"].encode()} for mask in values["masks"]]
    return Case(
        name=values["name"],
        image=np.array(Image.open(DATA / values["image"]).convert("RGB")),
        phrases=values["phrases"],
        template=PromptTemplate(
            question=values["question"].replace("{class_name}", "{phrase}"), answer=values["answer"]
        ),
        pruning=PruningConfig(num_retain_tokens=values["retain"], rule=values["rule"]),
        masks=np.stack([coco_mask.decode(rle).astype(bool) for rle in rles]),
        recorded=load_file(DATA / f"{values['name']}.safetensors"),
    )


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of two bool masks; 1 where both are empty."""
    union = np.logical_or(first, second).sum()
    return 1.0 if union == 0 else float(np.logical_and(first, second).sum() / union)
