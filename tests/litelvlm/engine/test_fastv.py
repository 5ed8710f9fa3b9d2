"""FastV in packed prompts against a literal restatement on transformers' own model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaModel
from transformers.masking_utils import create_causal_mask

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.config import LAYOUTS, PromptTemplate
from litelvlm.prompts import build_prompts

pytestmark = pytest.mark.slow

PHRASES = ["dog", "the second person from the left, in a red coat", "sky"]


def images(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8) for seed in range(count)]


def whole_layer(llm: LlamaModel, index: int, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One of transformers' layers on 1xTxW, causal."""
    mask = create_causal_mask(llm.config, hidden, None, None)
    rotary = llm.rotary_emb(hidden, positions[None])
    return llm.layers[index](hidden, attention_mask=mask, position_ids=positions[None], position_embeddings=rotary)


def literal_fastv(annotator: Annotator, image: np.ndarray, phrase: str, budget: int, layers: int) -> Any:
    """One prompt the repository's way: attention weights of layer K, its last row, the mean over heads, top R."""
    model = annotator.model
    llm: LlamaModel = model.llm
    prepared = annotator.preprocessor.prepare(image)
    features = annotator._runner.encode_clip([prepared])
    visual = model.projector(features.patches)[0]
    tokenizer = annotator.preprocessor.tokenizer
    (prompt,) = build_prompts([phrase], PromptTemplate(), tokenizer, layout="rounds", max_text_tokens=900)
    start, num_visual = prompt.image_index, len(visual)
    after = prompt.input_ids[start + 1 : prompt.seg_indices[-1]]
    ids = [torch.tensor(part) for part in (prompt.input_ids[:start], after)]
    hidden = torch.cat([llm.embed_tokens(ids[0]), visual, llm.embed_tokens(ids[1])])[None]
    positions = torch.arange(hidden.shape[1])
    for index in range(layers):
        entering, hidden = hidden, whole_layer(llm, index, hidden, positions)
    attention = weights_of(llm, layers - 1, entering[0], positions)
    received = attention[:, -1, start : start + num_visual].mean(0)
    kept = received.topk(budget).indices.sort().values
    places = torch.cat([torch.arange(start), start + kept, torch.arange(start + num_visual, hidden.shape[1])])
    hidden, positions = hidden[:, places], positions[places]
    for index in range(layers, len(llm.layers)):
        hidden = whole_layer(llm, index, hidden, positions)
    return kept.tolist(), model.mask_prompts(llm.norm(hidden)[0, -1:])[0]


def weights_of(llm: LlamaModel, index: int, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Attention weights of a layer, HxTxT, written out."""
    layer, heads = llm.layers[index], llm.config.num_attention_heads
    normed = layer.input_layernorm(hidden)
    cos, sin = llm.rotary_emb(hidden[None], positions[None])
    rows = []
    for head in range(heads):
        parts = []
        for project in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            x = project(normed).view(len(hidden), heads, -1)[:, head]
            half = x.shape[1] // 2
            parts.append(x * cos[0] + torch.cat([-x[:, half:], x[:, :half]], dim=1) * sin[0])
        logits = parts[0] @ parts[1].T / parts[0].shape[1] ** 0.5
        causal = torch.ones(len(hidden), len(hidden), dtype=torch.bool).tril()
        rows.append(logits.masked_fill(~causal, float("-inf")).softmax(-1))
    return torch.stack(rows)


@pytest.mark.parametrize(("budget", "layers"), [(20, 2), (1, 1), (63, 2)])
@torch.inference_mode()
def test_fastv_equals_its_definition(demo_annotator: Annotator, budget: int, layers: int) -> None:
    pruning = PruningConfig(num_retain_tokens=budget, rule="fastv", fastv_layer=layers)
    requests = [AnnotationRequest(image=image, phrases=PHRASES) for image in images(2)]
    for request, result in zip(requests, demo_annotator.annotate(requests, pruning), strict=True):
        assert result.num_retained_tokens == budget
        for phrase, retained, found in zip(PHRASES, result.retained, result.mask_prompts, strict=True):
            kept, expected = literal_fastv(demo_annotator, request.image, phrase, budget, layers)
            assert retained.tolist() == kept
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fastv_does_not_depend_on_the_batch(demo_annotator: Annotator, layout: Any) -> None:
    pruning = PruningConfig(num_retain_tokens=17, rule="fastv")
    requests = [AnnotationRequest(image=image, phrases=PHRASES[: 1 + index]) for index, image in enumerate(images(3))]
    together = demo_annotator.annotate(requests, pruning, layout)
    for request, batched in zip(requests, together, strict=True):
        alone = demo_annotator.annotate([request], pruning, layout)[0]
        assert [row.tolist() for row in batched.retained] == [row.tolist() for row in alone.retained]
        np.testing.assert_allclose(batched.mask_prompts, alone.mask_prompts, atol=1e-4)


def test_fastv_with_all_tokens_is_the_unpruned_model(demo_annotator: Annotator) -> None:
    requests = [AnnotationRequest(image=image, phrases=PHRASES) for image in images(1)]
    whole = demo_annotator.annotate(requests)[0]
    budget = demo_annotator.num_visual_tokens
    kept = demo_annotator.annotate(requests, PruningConfig(num_retain_tokens=budget, rule="fastv", fastv_layer=99))[0]
    np.testing.assert_allclose(kept.mask_prompts, whole.mask_prompts, atol=1e-5)
