"""Float8: the linear layers of LLaMA and of SAM's image encoder multiply in float8, all else stays in bfloat16.

Weights get a scale per output row once, activations a scale per token on the way (torchao's dynamic quantisation).
CLIP stays as it is, because it chooses the visual tokens; so do the projector, the heads, embeddings, norms and SAM's
convolutions (patch embedding and neck): together a tenth of the work. The last layer of LLaMA is converted like all
others: what it yields enters the heads in float32.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn

from litelvlm.glamm import GlammModel

FLOAT8 = torch.float8_e4m3fn
FLOAT8_BASE = torch.bfloat16  # what everything else runs in; products scaled by row yield nothing else
_CAPABILITY = (8, 9)
_MULTIPLE = 16  # the kernels want both sides of a weight divisible by it


def check_float8(device: torch.device) -> None:
    """Raises ValueError in one line where float8 cannot run: the device, or torchao is missing."""
    if device.type != "cuda":
        raise ValueError(f"dtype: float8 needs a CUDA device, not {device.type}; use bfloat16 or float32")
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        raise ValueError(
            "dtype: float8 needs compute capability 8.9 or higher (Ada, Hopper, Blackwell), and "
            f"{torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}; use bfloat16"
        )
    if find_spec("torchao") is None:
        raise ValueError("dtype: float8 needs torchao; pip install 'litelvlm-annotate[fp8]'")


def float8_layers(model: GlammModel) -> dict[str, nn.Linear]:
    """The layers that float8 replaces, by their names in the model."""
    converted = {}
    for prefix in ("llm.layers", "grounding_encoder.image_encoder.layers"):
        for name, module in model.get_submodule(prefix).named_modules():
            if isinstance(module, nn.Linear) and not any(side % _MULTIPLE for side in module.weight.shape):
                converted[f"{prefix}.{name}"] = module
    return converted


def to_float8(model: GlammModel) -> GlammModel:
    """Converts a bfloat16 model in place, a layer at a time.

    Raises:
        ValueError: in one line, if the model's device cannot.
    """
    check_float8(model.device)
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    names = float8_layers(model).keys()
    config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    quantize_(model, config, filter_fn=lambda _, name: name in names)
    return model
