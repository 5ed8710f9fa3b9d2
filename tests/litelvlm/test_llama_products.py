"""Several products in one give what they give apart."""

from __future__ import annotations

import torch
from torch import nn

from litelvlm.llama_products import joined, layer_products
from tests.litelvlm.test_packed_llama import small_llama


class Doubled(nn.Linear):
    """A layer of another kind."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(inputs)


@torch.inference_mode()
def test_joined_layers_are_their_outputs_side_by_side() -> None:
    layers = [nn.Linear(6, 4, bias=False), nn.Linear(6, 10, bias=False)]
    inputs = torch.randn(5, 6)
    expected = torch.cat([layer(inputs) for layer in layers], dim=-1)
    together = joined(layers)
    torch.testing.assert_close(together(inputs), expected)
    assert layers[0].weight.untyped_storage().data_ptr() == layers[1].weight.untyped_storage().data_ptr()
    torch.testing.assert_close(torch.cat([layer(inputs) for layer in layers], dim=-1), expected)
    before = layers[0].weight.data_ptr()
    torch.testing.assert_close(joined(layers)(inputs), expected)
    assert layers[0].weight.data_ptr() == before  # joined again, nothing is copied


@torch.inference_mode()
def test_layers_of_other_kinds_and_with_biases_are_called_as_they_are() -> None:
    inputs = torch.randn(5, 6)
    for layers in ([nn.Linear(6, 4, bias=False), Doubled(6, 4, bias=False)], [nn.Linear(6, 4), nn.Linear(6, 2)]):
        expected = torch.cat([layer(inputs) for layer in layers], dim=-1)
        torch.testing.assert_close(joined(layers)(inputs), expected)


@torch.inference_mode()
def test_a_layers_products_are_its_modules() -> None:
    layer = small_llama(2).layers[0]
    products, inputs = layer_products(layer), torch.randn(7, 32)
    attention, mlp = layer.self_attn, layer.mlp
    parts = [product(inputs) for product in (products.queries, products.keys, products.values)]
    torch.testing.assert_close(products.qkv(inputs), torch.cat(parts, dim=-1))
    torch.testing.assert_close(parts[1], attention.k_proj(inputs))
    torch.testing.assert_close(products.gate_up(inputs), torch.cat([mlp.gate_proj(inputs), mlp.up_proj(inputs)], -1))
    assert products.eps == layer.input_layernorm.variance_epsilon
