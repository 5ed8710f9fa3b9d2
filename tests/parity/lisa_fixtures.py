"""The recorded cases of LISA, as the tests read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.torch import load_file

from litelvlm import PromptTemplate
from tests.parity.fixtures import DATA

LISA = DATA / "lisa"
LISA_TINY = LISA / "lisa-tiny"
LISA_CLIP_TINY = LISA / "clip-tiny"


@dataclass(frozen=True, kw_only=True)
class LisaCase:
    name: str
    image: np.ndarray
    phrases: list[str]
    template: PromptTemplate
    layout: str
    masks: np.ndarray
    recorded: dict[str, torch.Tensor]


def load_lisa_cases() -> list[LisaCase]:
    return [_load(values) for values in json.loads((LISA / "cases.json").read_text(encoding="utf-8"))]


def _load(values: dict[str, Any]) -> LisaCase:
    rles = [{"size": mask["size"], "counts": mask["counts"].encode()} for mask in values["masks"]]
    return LisaCase(
        name=values["name"],
        image=np.array(Image.open(LISA / values["image"]).convert("RGB")),
        phrases=values["phrases"],
        template=PromptTemplate(
            question=values["question"].replace("{class_name}", "{phrase}"),
            answer=values["answer"],
            lower_case=values["lower"],
        ),
        layout="rounds" if values["form"] == "rounds" else "separate",
        masks=np.stack([coco_mask.decode(rle).astype(bool) for rle in rles]),
        recorded=load_file(LISA / f"{values['name']}.safetensors"),
    )
