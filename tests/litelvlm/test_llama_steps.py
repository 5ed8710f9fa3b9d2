"""The steps between products are those of transformers' layers."""

from __future__ import annotations

import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from litelvlm.llama_attention import merged
from litelvlm.llama_steps import PlainSteps

STEPS = PlainSteps()


def test_norms() -> None:
    norm = LlamaRMSNorm(12, eps=1e-5).requires_grad_(False)
    norm.weight.normal_()
    hidden, added = torch.randn(2, 5, 12)
    torch.testing.assert_close(STEPS.norm(hidden, norm.weight, 1e-5), norm(hidden))
    total, normed = STEPS.add_norm(hidden, added.clone(), norm.weight, 1e-5)
    torch.testing.assert_close(total, hidden + added)
    torch.testing.assert_close(normed, norm(hidden + added))


def test_heads_are_rotated_and_values_are_not() -> None:
    tokens, heads, kv_heads, size = 5, 4, 2, 6
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * size)
    cos, sin = torch.randn(2, tokens, size)
    queries, keys, values = (
        part.view(tokens, -1, size) for part in qkv.split([heads * size, kv_heads * size, kv_heads * size], dim=1)
    )
    turned = apply_rotary_pos_emb(queries[None], keys[None], cos[None], sin[None], unsqueeze_dim=2)
    found = STEPS.rotate(qkv.clone(), cos, sin, heads, kv_heads)
    for one, expected in zip(found, (turned[0][0], turned[1][0], values), strict=True):
        torch.testing.assert_close(one, expected)


def test_gates_and_what_passes_as_it_is() -> None:
    gate, up = torch.randn(2, 5, 8)
    torch.testing.assert_close(STEPS.gated(torch.cat([gate, up], -1)), torch.nn.functional.silu(gate) * up)
    assert STEPS.given(gate) is gate


def test_parts_are_merged() -> None:
    parts = [(torch.randn(3, 2, 4), torch.randn(2, 3)) for _ in range(2)]
    torch.testing.assert_close(STEPS.merge(*parts), merged(*parts))
