"""Float8 with a scale for each row: how a matrix is rounded, and how two such matrices are multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
_LEAST = 1e-12  # of a row's largest value, so that a row of zeros has a scale


class ScaledRows(NamedTuple):
    """A matrix in float8, row by row: row i stands for `values[i] * scales[i]`.

    Attributes:
        values: TxW float8.
        scales: Tx1 float32.
    """

    values: Tensor
    scales: Tensor


def scaled_rows(matrix: Tensor) -> ScaledRows:
    """The nearest to TxW whose rows have their largest value at float8's largest number."""
    exact = matrix.float()
    scales = exact.abs().amax(-1, keepdim=True).clamp_min(_LEAST) / LARGEST
    return ScaledRows((exact / scales).clamp(-LARGEST, LARGEST).to(FLOAT8), scales)


def multiplied(inputs: ScaledRows, weight: ScaledRows, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """TxO, inputs TxI times the transpose of a weight OxI, added up in float32.

    Float8's matrix units are used on a GPU; elsewhere both are widened, with the same result up to the order of sums.
    """
    if inputs.values.is_cuda:
        return torch._scaled_mm(
            inputs.values,
            weight.values.t(),
            scale_a=inputs.scales,
            scale_b=weight.scales.t(),
            bias=bias,
            out_dtype=dtype,
            use_fast_accum=True,
        )
    wide = (inputs.values.float() @ weight.values.float().t()) * inputs.scales * weight.scales.t()
    return (wide if bias is None else wide + bias.float()).to(dtype)


class Float8Linear(nn.Module):
    """A linear layer whose weights are rounded to float8 once, a scale for each output, and inputs on the way.

    Args:
        weight: OxI.
        bias: O, or None.
        dtype: of the outputs; a GPU gives bfloat16 only.
    """

    values: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, weight: ScaledRows, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("values", weight.values)
        self.register_buffer("scales", weight.scales)
        self.register_buffer("bias", bias)
        self._dtype = dtype

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> Float8Linear:
        """The same layer in float8."""
        bias = None if linear.bias is None else linear.bias.data
        return cls(scaled_rows(linear.weight.data), bias, linear.weight.dtype)

    @classmethod
    def joined(cls, layers: Sequence[Float8Linear]) -> Float8Linear:
        """Several layers with the same inputs as one, their outputs side by side; they become views of it."""
        assert all(layer.bias is None for layer in layers), "layers with biases are not joined"
        lengths = [len(layer.values) for layer in layers]
        values = torch.cat([layer.values.view(torch.uint8) for layer in layers]).view(FLOAT8)
        scales = torch.cat([layer.scales for layer in layers])
        for layer, own_values, own_scales in zip(layers, values.split(lengths), scales.split(lengths), strict=True):
            layer.values, layer.scales = own_values, own_scales
        return cls(ScaledRows(values, scales), None, layers[0]._dtype)

    @property
    def weight(self) -> ScaledRows:
        """OxI."""
        return ScaledRows(self.values, self.scales)

    def forward(self, inputs: Tensor | ScaledRows) -> Tensor:
        """...xO of ...xI, which may have been rounded already."""
        if isinstance(inputs, ScaledRows):
            return multiplied(inputs, self.weight, self.bias, self._dtype)
        rows = scaled_rows(inputs.flatten(0, -2))
        return multiplied(rows, self.weight, self.bias, self._dtype).unflatten(0, inputs.shape[:-1])
