"""What stands between LLaMA's matrix products, in plain PyTorch; `litelvlm.llama_kernels` has the same fused.

Shapes: T tokens of width W, H heads and K key-value heads of size D, I the width inside the MLP.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from litelvlm.llama_attention import Part, merged


class Steps(Protocol):
    """The steps between products. What goes into a product may come out in float8, with its scales."""

    def norm(self, hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
        """RMSNorm of TxW, as the next product takes it."""
        ...

    def add_norm(self, hidden: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The sum of two TxW, and its norm as the next product takes it; `added` may be overwritten."""
        ...

    def rotate(self, qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries TxHxD and keys TxKxD with their positions, and values TxKxD, of their product Tx(H+2K)*D.

        `cos` and `sin` are TxD; the product may be overwritten.
        """
        ...

    def gated(self, gate_up: Tensor) -> Tensor:
        """SiLU(gate) * up of both, Tx2I, as the next product takes it; both may be overwritten."""
        ...

    def given(self, values: Tensor) -> Tensor:
        """TxW as the next product takes it."""
        ...

    def merge(self, *parts: Part) -> Tensor:
        """As `litelvlm.llama_attention.merged`."""
        ...


class PlainSteps:
    """The steps as PyTorch's operations, on any device."""

    def norm(self, hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
        return F.rms_norm(hidden, hidden.shape[-1:], weight, eps)

    def add_norm(self, hidden: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        hidden = added.add_(hidden)
        return hidden, self.norm(hidden, weight, eps)

    def rotate(self, qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        in_heads = qkv.unflatten(-1, (heads + 2 * kv_heads, -1))
        turned, values = in_heads.split([heads + kv_heads, kv_heads], dim=1)
        turned = rotated(turned, cos, sin)
        return turned[:, :heads], turned[:, heads:], values

    def gated(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate, inplace=True).mul_(up)

    def given(self, values: Tensor) -> Tensor:
        return values

    def merge(self, *parts: Part) -> Tensor:
        return merged(*parts)


def rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """TxHxD heads with their positions, whose `cos` and `sin` are TxD."""
    turned, half = heads * cos[:, None], heads.shape[-1] // 2
    turned[..., :half].addcmul_(heads[..., half:], sin[:, None, :half], value=-1)
    turned[..., half:].addcmul_(heads[..., :half], sin[:, None, half:])
    return turned
