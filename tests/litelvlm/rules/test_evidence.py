"""The scores that rules decide by, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litelvlm.config import PruningConfig
from litelvlm.pruning import select
from litelvlm.rules.evidence import Evidence, cls_attention, context_scores, similarity_scores


def test_context_score_formula() -> None:
    query, key, value = torch.randn(1, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    q, k, v = query[0].numpy(), key[0].numpy(), value[0].numpy()
    logits = np.array([q @ row / np.linalg.norm(q) / np.linalg.norm(row) / np.sqrt(8) for row in k])
    attention = np.exp(logits) / np.exp(logits).sum()
    expected = [np.linalg.norm(p * row) for p, row in zip(attention, v, strict=True)]
    np.testing.assert_allclose(context_scores(query, key, value)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("num_heads", [1, 2])
def test_cls_attention_formula(num_heads: int) -> None:
    query, keys = torch.randn(1, 8, dtype=torch.float64), torch.randn(1, 6, 8, dtype=torch.float64)
    width, total = 8 // num_heads, np.zeros(5)
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        weights = np.exp(keys[0, :, part].numpy() @ query[0, part].numpy() / np.sqrt(width))
        total += weights[1:] / weights.sum() / num_heads
    np.testing.assert_allclose(cls_attention(query, keys, num_heads)[0], total, rtol=1e-5)


def test_similarity_is_a_plain_product_in_float32() -> None:
    """Not a cosine: a longer vector counts for more."""
    visual = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [0.0, -1.0]]], dtype=torch.bfloat16)
    text = torch.tensor([[[3.0, 1.0], [0.0, 2.0]]], dtype=torch.bfloat16)
    found = similarity_scores(visual, text)
    assert found.tolist() == [[[5.0, 50.0, -1.0], [4.0, 40.0, -2.0]]]
    assert found.dtype == torch.float32


def test_missing_evidence_is_named() -> None:
    with pytest.raises(ValueError, match=r"evidence\.attention"):
        select(Evidence(context=torch.rand(1, 9)), PruningConfig(num_retain_tokens=3, rule="vispruner"))
