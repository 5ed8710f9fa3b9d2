"""Attention in rows and in stretches is the same attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from litelvlm import Annotator
from litelvlm.engine.packed_tensors import pack
from litelvlm.engine.packing import plan_packing
from litelvlm.llama_attention import merged, padded_attention, stretched_attention
from tests import fakes_attention
from tests.litelvlm.engine.test_packed_tensors import embed
from tests.litelvlm.engine.test_packing import PHRASES, prompts_of


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
@pytest.mark.parametrize(("num_retained", "kv_heads"), [(1, 3), (6, 3), (6, 1)])
def test_rows_and_stretches_agree(
    demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch, layout: str, num_retained: Any, kv_heads: int
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fakes_attention.varlen_attn)
    asked = (PHRASES, PHRASES[:1], PHRASES[1:])
    prompts = [prompt for phrases in asked for prompt in prompts_of(demo_annotator, layout, phrases)]
    plan = plan_packing(prompts, num_retained, text_start=num_retained)
    retained = torch.zeros(len(prompts), num_retained, dtype=torch.int64)
    packed = pack(plan, torch.zeros(1, 9, 2), [0] * len(prompts), retained, embed, original=False)
    torch.manual_seed(num_retained)
    queries = torch.randn(plan.num_tokens, 3, 8)
    keys, values = torch.randn(2, plan.num_tokens, kv_heads, 8)
    prefix = len(plan.prefix_ids)
    before = torch.randn(prefix, kv_heads, 8), torch.randn(prefix, kv_heads, 8)
    expected = padded_attention(packed, prefix)(queries, keys, values, before)
    torch.testing.assert_close(stretched_attention(packed)(queries, keys, values, before), expected)


def test_merging_parts_is_attending_to_all() -> None:
    """Also where one part has all the weight, and logits are large."""
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 7, 2, 5)
    keys[:2] *= 100
    logits = torch.einsum("qhd,khd->hqk", queries, keys)
    parts = []
    for part in (slice(0, 2), slice(2, 3), slice(3, 7)):
        own = logits[..., part]
        parts.append((torch.einsum("hqk,khd->qhd", own.softmax(-1), values[part]), own.logsumexp(-1)))
    expected = torch.einsum("hqk,khd->qhd", logits.softmax(-1), values)
    torch.testing.assert_close(merged(*parts), expected)
    assert merged(*((one.bfloat16(), sums) for one, sums in parts)).dtype == torch.bfloat16
