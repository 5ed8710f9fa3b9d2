"""SAM's image encoder by FlexAttention: relative positions are added to the logits inside the kernel.

The same function and weights as `folded_sam`, whose heads stay D wide here; instead each logit looks up what its query
gives to its key's row and column. Which of the two is faster depends on the device: `benchmarks/sam_attention.py`.
Compiled, one fused kernel; without compilation, as on a CPU, FlexAttention writes the logits out and is for tests only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from litelvlm.folded_sam import FoldedSamEncoder, Table, relative_logits


def flex_positions(queries: Tensor, keys: Tensor, values: Tensor, table: Table, scale: float) -> Tensor:
    """WxNx(s*s)xD attention with relative positions, of queries, keys and values WxNx(s*s)xD."""
    by_row, by_column = relative_logits(queries, table)
    side = by_row.shape[-1]

    def add_positions(score: Tensor, window: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        row, column = by_row[window, head, query, key // side], by_column[window, head, query, key % side]
        return score + row + column

    attended = flex_attention(queries, keys, values, score_mod=add_positions, scale=scale)
    assert isinstance(attended, Tensor)
    return attended


#: FlexAttention alone compiled, for where the layer around it is not: its plain form needs B*N*G^4 logits in memory.
fused_flex_positions = torch.compile(flex_positions, dynamic=False, fullgraph=True)


class FlexSamEncoder(FoldedSamEncoder):
    """Runs a `SamVisionEncoder`."""

    attend = staticmethod(flex_positions)


class FusedFlexSamEncoder(FoldedSamEncoder):
    """The same with only the attention compiled."""

    attend = staticmethod(fused_flex_positions)
