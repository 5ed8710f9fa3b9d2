"""What stands between LLaMA's matrix products, compiled: each step reads and writes its rows once.

The number of tokens varies, so that a step is compiled once for all batches. Attention stays outside: it is fused
already, and the mask of rows on a GPU is a subclass of `Tensor` that no compiler should meet.

Shapes: T tokens of width W, H heads and K key-value heads of size D, I the width inside the MLP.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from litelvlm.compiled import Compiled, varying
from litelvlm.llama_attention import Part, merged
from litelvlm.llama_steps import PlainSteps, rotated

_PLAIN = PlainSteps()


class CompiledSteps:
    """`litelvlm.llama_steps.Steps`, compiled.

    Args:
        backend: of torch.compile.
    """

    def __init__(self, backend: Any = "inductor") -> None:
        what = "a step of LLaMA"
        self._norm = Compiled(_norm, what, backend=backend)
        self._add_norm = Compiled(_add_norm, what, backend=backend)
        self._rotated = Compiled(rotated, what, backend=backend)
        self._gated = Compiled(_gated, what, backend=backend)
        self._merged = Compiled(merged, what, backend=backend)

    def norm(self, hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
        return self._norm(varying(hidden), weight, eps)

    def add_norm(self, hidden: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return self._add_norm(varying(hidden), varying(added), weight, eps)

    def rotate(self, qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        in_heads = qkv.unflatten(-1, (heads + 2 * kv_heads, -1))
        turned, values = in_heads.split([heads + kv_heads, kv_heads], dim=1)
        turned = self._rotated(varying(turned), varying(cos), varying(sin))
        return turned[:, :heads], turned[:, heads:], values

    def gated(self, gate_up: Tensor) -> Tensor:
        return self._gated(varying(gate_up))

    def given(self, values: Tensor) -> Tensor:
        return values

    def merge(self, *parts: Part) -> Tensor:
        return self._merged(*((varying(one), varying(lse, 1)) for one, lse in parts))


def _norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    return _PLAIN.norm(hidden, weight, eps)


def _add_norm(hidden: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    hidden = hidden + added
    return hidden, _PLAIN.norm(hidden, weight, eps)


def _gated(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)  # nothing is overwritten: the compiler would write it back
    return F.silu(gate) * up
