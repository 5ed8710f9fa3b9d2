"""A scene's phrases in one sequence compute what separate prompts compute."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaModel

from litelvlm.config import PromptTemplate
from litelvlm.demo.prompt_batches import PromptBatch, build_batch
from litelvlm.tokenizer import IMAGE_ID, GlammTokenizer

PHRASES = ["the red circle", "leftmost small star", "the blue square below the large green cross"]


def _batch(phrases: list[list[str]], tokenizer: GlammTokenizer, layout: str) -> PromptBatch:
    return build_batch(phrases, PromptTemplate(), tokenizer, layout=layout, num_visual=7)


def _hidden(model: LlamaModel, batch: PromptBatch, visual: torch.Tensor) -> torch.Tensor:
    """Of B scenes with P phrases, BxPxW, each scene with the same visual tokens."""
    is_visual = (batch.input_ids == IMAGE_ID)[..., None]
    embeds = model.embed_tokens(batch.input_ids.clamp(min=0)).masked_scatter(is_visual, visual)
    output = model(inputs_embeds=embeds, attention_mask=batch.attend, position_ids=batch.position_ids, use_cache=False)
    return torch.stack([states[read] for states, read in zip(output.last_hidden_state, batch.read, strict=True)])


def _model(tokenizer: GlammTokenizer) -> LlamaModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    model = LlamaModel(LlamaConfig(vocab_size=tokenizer.vocab_size, **sizes))
    model.eval()
    return model


def test_branches_equal_separate_prompts(tokenizer: GlammTokenizer) -> None:
    model, visual = _model(tokenizer), torch.randn(1, 7, 32)
    with torch.no_grad():
        together = _hidden(model, _batch([PHRASES], tokenizer, "separate"), visual)[0]
        alone = [_hidden(model, _batch([[text]], tokenizer, "rounds"), visual)[0] for text in PHRASES]
        rounds = _hidden(model, _batch([PHRASES], tokenizer, "rounds"), visual)[0]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert torch.allclose(rounds[0], together[0], atol=1e-5)
    assert not torch.allclose(rounds[2], together[2], atol=1e-3), "later rounds see earlier ones"


def test_padding_changes_nothing(tokenizer: GlammTokenizer) -> None:
    model, visual = _model(tokenizer), torch.randn(2, 7, 32)
    short, long = ["star", "cross"], PHRASES[1:]
    for layout in ("separate", "rounds"):
        batch = _batch([short, long], tokenizer, layout)
        assert int(batch.input_ids[0, -1]) == 0
        with torch.no_grad():
            both = _hidden(model, batch, visual)
            first = _hidden(model, _batch([short], tokenizer, layout), visual[:1])
        assert torch.allclose(both[0], first[0], atol=1e-5)


def test_tokens_attend_to_the_prefix_and_to_their_own_branch(tokenizer: GlammTokenizer) -> None:
    batch = _batch([PHRASES], tokenizer, "separate")
    attend, position = batch.attend[0, 0], batch.position_ids[0]
    first, second, _ = batch.read[0].tolist()
    prefix = int((batch.input_ids[0] == IMAGE_ID).nonzero()[-1]) + 1
    assert attend[second, :prefix].all()
    assert not attend[second, prefix : first + 1].any()
    assert attend[second].sum() == position[second] + 1  # as in a prompt of its own
    assert not attend.triu(1).any()
