"""What float8 changes in the masks: their IoU with those of the wider precision, on trained weights.

    python -m benchmarks.precision                  # float8 simulated in float32, against float32
    python -m benchmarks.precision --device cuda    # the engine's float8 against bfloat16

Random weights give noise for masks, so the shipped checkpoint answers here, whatever size the speed was measured at.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.hardware import describe
from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.demo.scenes import HELD_OUT_SEED, Scene, draw_scene
from litelvlm.glamm import GlammModel
from litelvlm.precision import FLOAT8, float8_layers

RESULTS = Path(__file__).parent / "results"
SCENES = 100
BUDGET = 48  # of the shipped checkpoint's 144 visual tokens
_LARGEST = torch.finfo(FLOAT8).max


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """IoU of two engines' masks of the same phrases; two empty masks agree."""

    phrases: int
    mean_iou: float
    median_iou: float
    worst_iou: float
    share_above_0_9: float


class SimulatedFloat8Linear(nn.Module):
    """A linear layer whose weights (by output row) and inputs (by token) have been through float8, at any dtype."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(through_float8(linear.weight), requires_grad=False)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """...xO of ...xI."""
        return F.linear(through_float8(inputs), self.weight, self.bias)


def through_float8(rows: Tensor) -> Tensor:
    """The nearest values that float8 holds when the largest of each last dimension is its largest number."""
    exact = rows.float()
    scale = exact.abs().amax(-1, keepdim=True).clamp_min(1e-12) / _LARGEST
    return ((exact / scale).to(FLOAT8).float() * scale).to(rows.dtype)


def simulate_float8(model: GlammModel) -> GlammModel:
    """Replaces the layers that `to_float8` converts, in place."""
    for name, linear in float8_layers(model).items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, SimulatedFloat8Linear(linear))
    return model


def mask_agreement(first: Annotator, second: Annotator, scenes: Sequence[Scene], pruning: PruningConfig) -> Agreement:
    """How far two engines agree about the phrases of some scenes."""
    requests = [AnnotationRequest(image=scene.image, phrases=list(scene.phrases)) for scene in scenes]
    values = [
        _iou(one, other)
        for ours, theirs in zip(first.annotate(requests, pruning), second.annotate(requests, pruning), strict=True)
        for one, other in zip(ours.iter_masks(), theirs.iter_masks(), strict=True)
    ]
    return Agreement(
        phrases=len(values),
        mean_iou=float(np.mean(values)),
        median_iou=float(np.median(values)),
        worst_iou=float(np.min(values)),
        share_above_0_9=float(np.mean(np.array(values) > 0.9)),
    )


def float8_agreement(device: str = "cpu", num_scenes: int = SCENES, budget: int = BUDGET) -> Agreement:
    """Float8 against what it replaces, on the shipped checkpoint and held-out scenes.

    On a GPU the engine's layers against bfloat16, on a CPU simulated ones against float32.

    Raises:
        ValueError: on a GPU that has no float8.
    """
    scenes = [draw_scene(HELD_OUT_SEED + index) for index in range(num_scenes)]
    pruning = PruningConfig(rule="release", num_retain_tokens=budget)
    if torch.device(device).type == "cpu":
        wide, narrow = (Annotator.from_pretrained("demo") for _ in range(2))
        simulate_float8(narrow.model)
    else:
        wide, narrow = (
            Annotator.from_pretrained("demo", device=device, dtype=dtype) for dtype in ("bfloat16", "float8")
        )
    return mask_agreement(wide, narrow, scenes, pruning)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scenes", type=int, default=SCENES)
    options = parser.parse_args()
    agreement = float8_agreement(options.device, options.scenes)
    kind = torch.device(options.device).type
    compared = "simulated float8 against float32" if kind == "cpu" else "float8 against bfloat16"
    content = {"hardware": describe(), "compared": compared, "visual_tokens": BUDGET, **asdict(agreement)}
    (RESULTS / f"precision_{kind}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"{compared}: mean IoU {agreement.mean_iou:.4f} over {agreement.phrases} phrases")


if __name__ == "__main__":
    main()
