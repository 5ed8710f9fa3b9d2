"""Every rule through the engine: what it sees of CLIP, what it makes of tokens, and that batches do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, AnnotationResult, Annotator, PruningConfig
from litelvlm.config import RULES, PromptTemplate
from litelvlm.prompts import build_prompts
from litelvlm.pruning import select
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import RULE_BOOK
from litelvlm.rules.selection import order_tokens

pytestmark = pytest.mark.slow

PHRASES = ["dog", "the second person from the left, in a red coat", "sky"]


def requests_of(count: int) -> list[AnnotationRequest]:
    images = [np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8) for seed in range(count)]
    return [AnnotationRequest(image=image, phrases=PHRASES[: 1 + index]) for index, image in enumerate(images)]


@pytest.mark.parametrize(
    ("rule", "layout"),
    [*((rule, "separate") for rule in RULES), *((rule, "shared") for rule in ("trim", "prumerge", "fastv"))],
)
def test_results_do_not_depend_on_the_batch(demo_annotator: Annotator, rule: Any, layout: Any) -> None:
    pruning, requests = PruningConfig(num_retain_tokens=13, rule=rule), requests_of(2)
    together = demo_annotator.annotate(requests, pruning, layout)
    budget = demo_annotator.num_visual_tokens if rule == "none" else 13
    for request, batched in zip(requests, together, strict=True):
        alone = demo_annotator.annotate([request], pruning, layout)[0]
        assert batched.num_retained_tokens == budget
        assert all(len(set(row.tolist())) == budget for row in batched.retained)
        assert [row.tolist() for row in batched.retained] == [row.tolist() for row in alone.retained]
        np.testing.assert_allclose(batched.mask_prompts, alone.mask_prompts, atol=1e-4)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"none"}))
def test_text_tokens_are_those_of_the_unpruned_prompt(demo_annotator: Annotator, rule: Any) -> None:
    requests = requests_of(2)
    whole = demo_annotator.annotate(requests)
    pruned = demo_annotator.annotate(requests, PruningConfig(num_retain_tokens=9, rule=rule))
    assert [r.num_text_tokens for r in pruned] == [r.num_text_tokens for r in whole]
    assert [r.num_prompts for r in pruned] == [r.num_prompts for r in whole]


@torch.inference_mode()
def test_cues_are_those_of_clips_own_attention(demo_annotator: Annotator) -> None:
    """Against torch's own `MultiheadAttention`, asked for its weights."""
    encoder = demo_annotator.model.clip
    prepared = [demo_annotator.preprocessor.prepare(request.image) for request in requests_of(2)]
    features = demo_annotator._runner.encode_clip(prepared)
    block = encoder.clip.visual.transformer.resblocks[-2]
    normed = block.ln_1(features.previous_input)
    _, weights = block.attn(normed, normed, normed, need_weights=True, average_attn_weights=True)
    attention, keys = encoder.attention_cues(features.previous_input)
    torch.testing.assert_close(attention, weights[:, 0, 1:], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(block(features.previous_input), features.last_input)
    torch.testing.assert_close(features.last_input[:, 1:], features.patches)
    width = encoder.sizes.vision_width
    weight, bias = block.attn.in_proj_weight[width : 2 * width], block.attn.in_proj_bias[width : 2 * width]
    per_head = (normed[:, 1:] @ weight.T + bias).chunk(encoder.sizes.vision_heads, dim=-1)
    torch.testing.assert_close(keys, sum(per_head) / encoder.sizes.vision_heads, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_last_layers_cues_are_of_a_single_head(demo_annotator: Annotator) -> None:
    encoder = demo_annotator.model.clip
    prepared = [demo_annotator.preprocessor.prepare(request.image) for request in requests_of(1)]
    features = demo_annotator._runner.encode_clip(prepared)
    block, width = encoder.clip.visual.transformer.resblocks[-1], encoder.sizes.vision_width
    query, key, _ = (block.ln_1(features.last_input[0]) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(
        3, -1
    )
    attention, keys = encoder.last_cues(features.last_input)
    expected = ((query @ key.T) * width**-0.5).softmax(-1)[0, 1:]
    torch.testing.assert_close(attention[0], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(keys[0], key[1:], rtol=1e-4, atol=1e-5)


def literal(annotator: Annotator, result: AnnotationResult, request: AnnotationRequest, pruning: PruningConfig) -> Any:
    """Mask prompts of a prompt per phrase: tokens merged by the rule's weights, projected, in a plain forward pass."""
    model, runner = annotator.model, annotator._runner
    features = runner.encode_clip([annotator.preprocessor.prepare(request.image)])
    attention, keys = model.clip.attention_cues(features.previous_input)
    last_attention, last_keys = model.clip.last_cues(features.last_input)
    found = []
    for phrase in request.phrases:
        template = PromptTemplate()
        text = runner.embed_questions([template.ask(phrase)])[template.ask(phrase)]
        evidence = Evidence(
            context=features.context,
            similarity=(features.embedded @ text)[:, None],
            phrase_mask=torch.ones(1, 1, dtype=torch.bool),
            attention=attention,
            keys=keys,
            last_attention=last_attention,
            last_keys=last_keys,
        )
        selection = select(evidence, pruning)
        order = order_tokens(selection, features.context, release_order=False, own_order=True)[0]
        visual = model.projector(selection.merge[0][order] @ features.patches[0])
        tokenizer = annotator.preprocessor.tokenizer
        (prompt,) = build_prompts([phrase], template, tokenizer, layout="rounds", max_text_tokens=900)
        before, after = prompt.input_ids[: prompt.image_index], prompt.input_ids[prompt.image_index + 1 :]
        embeds = torch.cat(
            [model.llm.embed_tokens(torch.tensor(before)), visual, model.llm.embed_tokens(torch.tensor(after))]
        )
        places = order if pruning.uses_original_positions else torch.arange(len(order))
        behind = len(features.patches[0]) if pruning.uses_original_positions else len(order)
        ids = torch.cat(
            [torch.arange(len(before)), len(before) + places, len(before) + behind + torch.arange(len(after))]
        )
        one = torch.ones_like(ids)[None]  # without it, gaps between ids would count as ends of sequences
        hidden = model.llm(inputs_embeds=embeds[None], attention_mask=one, position_ids=ids[None]).last_hidden_state[0]
        found.append((order.tolist(), model.mask_prompts(hidden[prompt.seg_indices[0] - 2 + len(order)][None])[0]))
    return found


@pytest.mark.parametrize("rule", sorted(name for name, rule in RULE_BOOK.items() if rule.merges))
@torch.inference_mode()
def test_merged_tokens_reach_the_language_model(demo_annotator: Annotator, rule: Any) -> None:
    pruning, requests = PruningConfig(num_retain_tokens=15, rule=rule), requests_of(3)
    for request, result in zip(requests, demo_annotator.annotate(requests, pruning), strict=True):
        expected = literal(demo_annotator, result, request, pruning)
        assert [row.tolist() for row in result.retained] == [order for order, _ in expected]
        np.testing.assert_allclose(result.mask_prompts, torch.stack([prompt for _, prompt in expected]), atol=1e-4)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"none"}))
def test_order_and_position_ids_apply_to_every_rule(demo_annotator: Annotator, rule: Any) -> None:
    kept = {}
    for order, positions in (("auto", "compact"), ("raster", "original"), ("release", "original")):
        pruning = PruningConfig(num_retain_tokens=20, rule=rule, order=order, positions=positions)
        kept[order] = demo_annotator.annotate(requests_of(1), pruning)[0].retained[0].tolist()
    assert kept["raster"] == sorted(kept["raster"]) == sorted(kept["auto"]) == sorted(kept["release"])


def test_bfloat16_keeps_the_same_number() -> None:
    annotator = Annotator.from_pretrained("demo", dtype="bfloat16")
    for rule in RULES:
        budget = annotator.num_visual_tokens if rule == "none" else 20
        for result in annotator.annotate(requests_of(1), PruningConfig(num_retain_tokens=20, rule=rule)):
            assert np.isfinite(result.mask_prompts).all()
            assert result.num_retained_tokens == len(set(result.retained[0].tolist())) == budget
