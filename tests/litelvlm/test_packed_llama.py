"""Packed prompts compute what transformers' own forward pass computes on each prompt alone."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaModel

from litelvlm.config import LlmSizes
from litelvlm.glamm import llama_config
from litelvlm.packed_llama import PackedLlama
from litelvlm.packed_prompts import PackedPrompts, Stretches
from tests import fakes_attention

PREFIX = [3, 1, 4, 1, 5]
KINDS = ("padded", "stretches")


@pytest.fixture(autouse=True)
def _attention_for_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fakes_attention.varlen_attn)


def ends(*lengths: int) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)


def stretches(*lengths: int) -> Stretches:
    """Those of prompts without branches."""
    return Stretches(own=ends(*lengths), whole=ends(sum(lengths)), prefix_ends=ends(len(PREFIX)), longest=max(lengths))


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_kv_heads", [4, 2])
@torch.inference_mode()
def test_packed_prompts_equal_transformers_own_forward_pass(num_kv_heads: int, kind: str) -> None:
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
        stretches=stretches(*lengths),
    )
    runner = PackedLlama(llm, kind)
    found = runner(packed, runner.prefix(torch.tensor(prefix)))
    before = llm.embed_tokens(torch.tensor(prefix))
    expected = []
    for own, wanted in zip(embeds, reads, strict=True):
        hidden = llm(inputs_embeds=torch.cat([before, own])[None]).last_hidden_state[0]
        expected += [hidden[len(prefix) + column] for column in wanted]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)


def one_prompt(embeds: torch.Tensor, *, branches: list[int] | None = None, read: list[int]) -> PackedPrompts:
    """A single prompt behind `PREFIX`."""
    length = len(embeds)
    return PackedPrompts(
        embeds=embeds,
        position_ids=torch.arange(length) + len(PREFIX),
        rows=torch.zeros(length, dtype=torch.int64),
        columns=torch.arange(length),
        num_rows=1,
        width=length,
        read=torch.tensor(read),
        read_slots=torch.arange(len(read)),
        num_slots=len(read),
        branches=None if branches is None else torch.tensor(branches),
        stretches=stretches(length) if branches is None else tree(branches),
    )


def tree(branches: list[int]) -> Stretches:
    """Those of one prompt with branches."""
    lengths = [branches.count(number) for number in sorted(set(branches))]
    text = sum(lengths[1:])
    return Stretches(
        own=ends(*lengths), whole=ends(len(branches)), prefix_ends=ends(len(PREFIX)), longest=max(lengths),
        branch_ends=ends(text), longest_text=text, visual_ends=ends(lengths[0]), num_retained=lengths[0],
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_branch_sees_what_is_common_and_itself_alone(kind: str) -> None:
    """Two branches of two tokens after three common ones equal two prompts that hold one of them each."""
    llm = small_llama(2)
    runner, embeds = PackedLlama(llm, kind), torch.randn(7, 32)
    prefix = runner.prefix(torch.tensor(PREFIX))
    packed = one_prompt(embeds, branches=[0, 0, 0, 1, 1, 2, 2], read=[4, 6])
    packed.position_ids[5:] = packed.position_ids[3:5]
    found = runner(packed, prefix)
    before = llm.embed_tokens(torch.tensor(PREFIX))
    for row, own in enumerate(([3, 4], [5, 6])):
        alone = torch.cat([before, embeds[[0, 1, 2, *own]]])[None]
        torch.testing.assert_close(found[row], llm(inputs_embeds=alone).last_hidden_state[0, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_advancing_and_resuming_is_running_at_once(kind: str) -> None:
    runner, embeds = PackedLlama(small_llama(4), kind), torch.randn(6, 32)
    prompts, prefix = one_prompt(embeds, read=[2, 5]), runner.prefix(torch.tensor(PREFIX))
    halfway = runner.advance(embeds, prompts, prefix, 0, 1)
    assert not torch.equal(halfway, embeds)
    torch.testing.assert_close(runner.resume(halfway, prompts, prefix, 1), runner(prompts, prefix))


@torch.inference_mode()
def test_attention_is_a_distribution_over_what_was_said_before() -> None:
    runner, embeds = PackedLlama(small_llama(2)), torch.randn(6, 32)
    prompts, prefix = one_prompt(embeds, read=[2]), runner.prefix(torch.tensor(PREFIX))
    paid = runner.attention(embeds, prompts, prefix, 0)
    assert paid.shape == (1, 4, 1, len(PREFIX) + 6)
    torch.testing.assert_close(paid.sum(-1), torch.ones(1, 4, 1))
    assert (paid[..., : len(PREFIX) + 3] > 0).all()
    assert not paid[..., len(PREFIX) + 3 :].any()


@torch.inference_mode()
def test_weights_may_be_replaced_until_the_first_call() -> None:
    """The layers keep one copy of their weights, joined, whatever they hold then."""
    llm, embeds = small_llama(4), torch.randn(6, 32)
    runner, prompts = PackedLlama(llm), one_prompt(embeds, read=[5])
    llm.layers[0].self_attn.k_proj = torch.nn.Linear(32, 32, bias=False)
    found = runner(prompts, runner.prefix(torch.tensor(PREFIX)))
    whole = torch.cat([llm.embed_tokens(torch.tensor(PREFIX)), embeds])[None]
    torch.testing.assert_close(found[0], llm(inputs_embeds=whole).last_hidden_state[0, -1], rtol=1e-5, atol=1e-5)
    weights = [layer.weight for layer in (llm.layers[1].self_attn.q_proj, llm.layers[1].self_attn.k_proj)]
    assert weights[0].untyped_storage().data_ptr() == weights[1].untyped_storage().data_ptr()
