"""Rows in float8, and products of them."""

from __future__ import annotations

import torch
from torch import nn

from litelvlm.float8_rows import FLOAT8, LARGEST, Float8Linear, ScaledRows, multiplied, scaled_rows


def wide(rows: ScaledRows) -> torch.Tensor:
    return rows.values.float() * rows.scales


def test_rows_keep_three_bits_at_any_scale() -> None:
    matrix = torch.randn(50, 64) * torch.logspace(-6, 6, 50)[:, None]
    rows = scaled_rows(matrix)
    assert rows.values.dtype == FLOAT8
    assert rows.values.float().abs().amax(1).tolist() == [LARGEST] * 50
    large = matrix.abs() > matrix.abs().amax(1, keepdim=True) / 1000
    assert ((wide(rows) - matrix).abs()[large] <= matrix.abs()[large] / 16 * 1.001).all()
    assert torch.equal(wide(scaled_rows(torch.zeros(2, 8))), torch.zeros(2, 8))


def test_products_are_of_what_the_rows_stand_for() -> None:
    inputs, weight, bias = scaled_rows(torch.randn(5, 16)), scaled_rows(torch.randn(3, 16)), torch.randn(3)
    expected = wide(inputs) @ wide(weight).t()
    torch.testing.assert_close(multiplied(inputs, weight, None, torch.float32), expected)
    torch.testing.assert_close(multiplied(inputs, weight, bias, torch.float32), expected + bias)
    assert multiplied(inputs, weight, bias, torch.bfloat16).dtype == torch.bfloat16


@torch.inference_mode()
def test_a_layer_errs_by_percents_and_takes_rows_as_well() -> None:
    linear, inputs = nn.Linear(64, 48), torch.randn(2, 30, 64)
    layer = Float8Linear.from_linear(linear)
    exact, found = linear(inputs), layer(inputs)
    assert 0 < (found - exact).abs().max() < 0.1 * exact.abs().max()
    torch.testing.assert_close(layer(scaled_rows(inputs.flatten(0, 1))), found.flatten(0, 1))


@torch.inference_mode()
def test_joined_layers_are_their_outputs_side_by_side() -> None:
    layers = [Float8Linear.from_linear(nn.Linear(32, size, bias=False)) for size in (16, 48)]
    inputs = torch.randn(5, 32)
    expected = torch.cat([layer(inputs) for layer in layers], -1)
    together = Float8Linear.joined(layers)
    torch.testing.assert_close(together(inputs), expected)
    torch.testing.assert_close(torch.cat([layer(inputs) for layer in layers], -1), expected)
    assert layers[0].values.untyped_storage().data_ptr() == together.values.untyped_storage().data_ptr()
