"""SAM's attention by other kernels of PyTorch's, for a GPU: cuDNN's, and FlexAttention.

cuDNN's takes the folded heads of `litelvlm.folded_sam`, filled up to what its kernels want, and leaves values narrow.
FlexAttention adds a query's two relative logits to each pair where the pair is computed, so that heads keep their size;
only compiled it is one kernel. Shapes are those of `litelvlm.folded_sam`.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from litelvlm.folded_sam import Attend, FoldedSamEncoder, Table, folded_heads, relative_logits

_CUDNN = SDPBackend.CUDNN_ATTENTION  # and no other, or a race would time one of those
_MULTIPLE = 8  # of a head's size in cuDNN's kernels


def cudnn_attention(queries: Tensor, keys: Tensor, values: Tensor, table: Table, scale: float) -> Tensor:
    """As `litelvlm.folded_sam.folded_attention`.

    Raises:
        RuntimeError: cuDNN has no kernel for this device or dtype.
    """
    queries, keys = folded_heads(queries, keys, table, scale)
    size = values.shape[-1]
    with sdpa_kernel(_CUDNN):
        found = F.scaled_dot_product_attention(_filled(queries), _filled(keys), _filled(values), scale=1.0)
    return found[..., :size]


def flexible_attention(queries: Tensor, keys: Tensor, values: Tensor, table: Table, scale: float) -> Tensor:
    """As `litelvlm.folded_sam.folded_attention`."""
    by_row, by_column = relative_logits(queries, table)
    side = len(table[0])

    def placed(logit: Tensor, window: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return logit + by_row[window, head, query, key // side] + by_column[window, head, query, key % side]

    found: Tensor = flex_attention(queries, keys, values, score_mod=placed, scale=scale)
    return found


class CudnnSamEncoder(FoldedSamEncoder):
    """Runs a `SamVisionEncoder` with cuDNN's attention."""

    attend: Attend = staticmethod(cudnn_attention)


class FlexSamEncoder(FoldedSamEncoder):
    """Runs a `SamVisionEncoder` with FlexAttention."""

    attend: Attend = staticmethod(flexible_attention)


def _filled(heads: Tensor) -> Tensor:
    """Heads with zeros behind them, up to a size that cuDNN takes; logits and what is cut off again do not change."""
    return F.pad(heads, (0, -heads.shape[-1] % _MULTIPLE))
