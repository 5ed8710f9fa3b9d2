"""`torch.nn.attention.varlen.varlen_attn` restated for a CPU: sequence by sequence, softmax written out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Any:
    """Attention within sequences, TxHxD, and the log-sum-exps HxT; causal ones end together."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.shape[1] == key.shape[1], "no grouped heads in torch 2.11"
    assert window_size in ((-1, -1), (-1, 0))
    assert window_size == (-1, -1) or cu_seq_q is cu_seq_k
    out, lse = torch.empty_like(query), query.new_empty(query.shape[1], len(query), dtype=torch.float32)
    ends = zip(
        cu_seq_q.tolist()[:-1], cu_seq_q.tolist()[1:], cu_seq_k.tolist()[:-1], cu_seq_k.tolist()[1:], strict=True
    )
    assert cu_seq_q[-1] == len(query)
    assert cu_seq_k[-1] == len(key)
    for start_q, stop_q, start_k, stop_k in ends:
        assert stop_q - start_q <= max_q
        assert stop_k - start_k <= max_k
        logits = torch.einsum("qhd,khd->hqk", query[start_q:stop_q].float(), key[start_k:stop_k].float())
        logits *= scale or 1 / math.sqrt(query.shape[-1])
        if window_size == (-1, 0):
            num_q, num_k = logits.shape[1:]
            logits.masked_fill_(torch.ones(num_q, num_k, dtype=torch.bool).triu(1 + num_k - num_q), float("-inf"))
        lse[:, start_q:stop_q] = logits.logsumexp(-1)
        weighted = torch.einsum("hqk,khd->qhd", logits.softmax(-1), value[start_k:stop_k].float())
        out[start_q:stop_q] = weighted.to(out.dtype)
    return (out, lse) if return_aux is not None and return_aux.lse else out
