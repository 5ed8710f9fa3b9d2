"""Float8: the linear layers of LLaMA and of SAM's image encoder multiply in float8, all else stays in bfloat16.

Weights get a scale per output row once, activations a scale per token on the way (`litelvlm.float8_rows`). CLIP stays
as it is, because it chooses the visual tokens; so do the projector, the heads, embeddings, norms and SAM's convolutions
(patch embedding and neck): together a tenth of the work. The last layer of LLaMA is converted like all others: what it
yields enters the heads in float32.
"""

from __future__ import annotations

import torch
from torch import nn

from litelvlm.float8_rows import Float8Linear
from litelvlm.glamm import GlammModel

FLOAT8 = torch.float8_e4m3fn  # the dtype that is asked for
FLOAT8_BASE = torch.bfloat16  # what everything else runs in; products scaled by row yield nothing else
_CAPABILITY = (8, 9)
_MULTIPLE = 16  # the kernels want both sides of a weight divisible by it
_TOGETHER = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"})  # products of one input, run as one


def check_float8(device: torch.device) -> None:
    """Raises ValueError in one line where float8 cannot run."""
    if device.type != "cuda":
        raise ValueError(f"dtype: float8 needs a CUDA device, not {device.type}; use bfloat16 or float32")
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        raise ValueError(
            "dtype: float8 needs compute capability 8.9 or higher (Ada, Hopper, Blackwell), and "
            f"{torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}; use bfloat16"
        )


def float8_layers(model: GlammModel) -> dict[str, nn.Linear]:
    """The layers that float8 replaces, by their names in the model; those that run as one all together or not."""
    converted: dict[str, nn.Linear] = {}
    refused: set[str] = set()
    for prefix in ("llm.layers", "grounding_encoder.image_encoder.layers"):
        for name, module in model.get_submodule(prefix).named_modules():
            if not isinstance(module, nn.Linear):
                continue
            if any(side % _MULTIPLE for side in module.weight.shape):
                refused |= _siblings(f"{prefix}.{name}")
            else:
                converted[f"{prefix}.{name}"] = module
    return {name: module for name, module in converted.items() if name not in refused}


def to_float8(model: GlammModel) -> GlammModel:
    """Converts a bfloat16 model in place, a layer at a time.

    Raises:
        ValueError: in one line, if the model's device cannot.
    """
    check_float8(model.device)
    for name, linear in float8_layers(model).items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, Float8Linear.from_linear(linear))
    return model


def _siblings(name: str) -> set[str]:
    """The layers that run as one with this one."""
    parent, _, attribute = name.rpartition(".")
    return {f"{parent}.{one}" for group in _TOGETHER if attribute in group for one in group}
