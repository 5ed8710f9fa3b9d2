"""Packed prompts compute what transformers' own forward pass computes on each prompt alone."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaModel

from litelvlm.config import LlmSizes, PromptTemplate
from litelvlm.engine.packing import packed_length, plan_packing
from litelvlm.glamm import llama_config
from litelvlm.packed_llama import PackedLlama, PackedPrompts
from litelvlm.prompts import build_prompts

PHRASES = ["dog", "the second person from the left, in a red coat", "sky"]


def prompts_of(annotator, layout: str, phrases: list[str]):
    tokenizer = annotator.preprocessor.tokenizer
    return build_prompts(phrases, PromptTemplate(), tokenizer, layout=layout, max_text_tokens=1000)


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
@pytest.mark.parametrize("num_retained", [1, 7, 64])
def test_a_plan_holds_every_token_once_and_nothing_else(tiny_annotator, layout, num_retained):
    prompts = [*prompts_of(tiny_annotator, layout, PHRASES), *prompts_of(tiny_annotator, layout, PHRASES[:1])]
    plan = plan_packing(prompts, num_retained, text_start=num_retained)
    lengths = [packed_length(prompt, num_retained) for prompt in prompts]
    assert plan.num_tokens == sum(lengths) == len(plan.position_ids)
    assert plan.width == max(lengths)
    assert sorted(plan.text_places + plan.visual_places) == list(range(plan.num_tokens))
    assert len(plan.text_ids) == len(plan.text_places)
    assert len(plan.visual_places) == num_retained * len(prompts)
    assert len(set(zip(plan.rows, plan.columns, strict=True))) == plan.num_tokens
    assert len(plan.read) == sum(len(prompt.seg_indices) for prompt in prompts)
    for prompt, row in zip(prompts, range(len(prompts)), strict=True):
        own = [place for place, of in enumerate(plan.rows) if of == row]
        text = [plan.text_ids[plan.text_places.index(place)] for place in own[num_retained:]]
        assert text == list(prompt.input_ids[prompt.image_index + 1 :][: len(text)])
        reads = [place for place in plan.read if place in own]
        following = [prompt.input_ids[own.index(place) + 2 - num_retained + prompt.image_index] for place in reads]
        assert following == [prompt.input_ids[index] for index in prompt.seg_indices]


def test_branches_begin_at_the_same_position(tiny_annotator):
    (prompt,) = prompts_of(tiny_annotator, "shared", PHRASES)
    plan = plan_packing([prompt], 5, text_start=64)
    first = {branch: plan.branches.index(branch) for branch in set(plan.branches) - {0}}
    assert len(first) == len(PHRASES)
    assert {plan.position_ids[place] for place in first.values()} == {len(plan.prefix_ids) + 64}


def small_llama(num_kv_heads: int) -> LlamaModel:
    torch.manual_seed(num_kv_heads)
    sizes = LlmSizes(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=num_kv_heads,
        max_position_embeddings=200,
    )
    return LlamaModel(llama_config(sizes)).eval()


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@torch.inference_mode()
def test_packed_prompts_equal_transformers_own_forward_pass(num_kv_heads):
    llm = small_llama(num_kv_heads)
    prefix, lengths, reads = [3, 1, 4, 1, 5], [9, 2, 14], [[8], [1], [3, 13]]
    embeds = [torch.randn(length, 32) for length in lengths]
    packed = PackedPrompts(
        embeds=torch.cat(embeds),
        position_ids=torch.cat([torch.arange(length) + len(prefix) for length in lengths]),
        rows=torch.tensor([row for row, length in enumerate(lengths) for _ in range(length)]),
        columns=torch.cat([torch.arange(length) for length in lengths]),
        num_rows=3,
        width=14,
        read=torch.tensor([sum(lengths[:row]) + column for row, own in enumerate(reads) for column in own]),
        read_slots=torch.tensor([slot for own in reads for slot in range(len(own))]),
        num_slots=2,
    )
    runner = PackedLlama(llm)
    found = runner(packed, runner.prefix(torch.tensor(prefix)))
    before = llm.embed_tokens(torch.tensor(prefix))
    expected = []
    for own, wanted in zip(embeds, reads, strict=True):
        hidden = llm(inputs_embeds=torch.cat([before, own])[None]).last_hidden_state[0]
        expected += [hidden[len(prefix) + column] for column in wanted]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)
