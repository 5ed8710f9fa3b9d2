"""LLaMA's layers as few matrix products: queries, keys and values in one, gate and up in one.

The joined weights are the only copy: the layers they came from become views of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from litelvlm.float8_rows import Float8Linear

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class LayerProducts:
    """A layer's products, and the weights of its norms. `qkv` is `queries`, `keys` and `values` in one.

    `takes_rows` says whether `qkv`, `output`, `gate_up` and `down` take `ScaledRows`, too.
    """

    qkv: Product
    queries: Product
    keys: Product
    values: Product
    output: Product
    gate_up: Product
    down: Product
    input_norm: Tensor
    inner_norm: Tensor
    eps: float
    takes_rows: bool


def layer_products(layer: LlamaDecoderLayer) -> LayerProducts:
    """The products of a layer, which from then on keeps its weights joined."""
    attention, mlp = layer.self_attn, layer.mlp
    qkv, gate_up = [attention.q_proj, attention.k_proj, attention.v_proj], [mlp.gate_proj, mlp.up_proj]
    return LayerProducts(
        qkv=joined(qkv),
        queries=attention.q_proj,
        keys=attention.k_proj,
        values=attention.v_proj,
        output=attention.o_proj,
        gate_up=joined(gate_up),
        down=mlp.down_proj,
        input_norm=layer.input_layernorm.weight,
        inner_norm=layer.post_attention_layernorm.weight,
        eps=layer.input_layernorm.variance_epsilon,
        takes_rows=all(isinstance(one, Float8Linear) for one in (*qkv, attention.o_proj, *gate_up, mlp.down_proj)),
    )


def joined(layers: Sequence[nn.Module]) -> Product:
    """One product for several layers with the same inputs, their outputs side by side.

    Layers of other kinds than `nn.Linear` and `Float8Linear` are called one by one.
    """
    float8 = [layer for layer in layers if isinstance(layer, Float8Linear)]
    if len(float8) == len(layers):
        return Float8Linear.joined(float8)
    linear = [layer for layer in layers if isinstance(layer, nn.Linear) and type(layer) is nn.Linear]
    if len(linear) < len(layers) or any(layer.bias is not None for layer in linear):
        return lambda inputs: torch.cat([layer(inputs) for layer in layers], dim=-1)
    weight = _join(linear)
    return lambda inputs: F.linear(inputs, weight)


def _join(layers: Sequence[nn.Linear]) -> Tensor:
    """The rows of all weights, of which each becomes a view; joined again, they are the same."""
    first, end = layers[0].weight, layers[0].weight.data_ptr()
    for layer in layers:
        if layer.weight.data_ptr() != end or _storage(layer.weight) != _storage(first):
            break
        end += layer.weight.nbytes
    else:
        if not first.is_meta:
            return first.data.as_strided((sum(len(layer.weight) for layer in layers), first.shape[1]), first.stride())
    with torch.inference_mode(False), torch.no_grad():
        together = torch.cat([layer.weight for layer in layers])
        for layer, part in zip(layers, together.split([len(layer.weight) for layer in layers]), strict=True):
            layer.weight = nn.Parameter(part, requires_grad=False)
    return together


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
