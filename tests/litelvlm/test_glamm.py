"""The assembled network: which parts are cast, what a checkpoint does not hold, and the heads."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaModel

from litelvlm.config import GlammConfig, LlmSizes
from litelvlm.glamm import GlammModel, llama_config
from tests.litelvlm.test_clip_encoder import SIZES as CLIP
from tests.litelvlm.test_grounding_encoder import SIZES as SAM

LLM = LlmSizes(
    vocab_size=40,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rope_theta=500.0,
)


@pytest.fixture
def model() -> GlammModel:
    torch.manual_seed(0)
    return GlammModel(GlammConfig(llm=LLM, sam=SAM, clip=CLIP)).eval()


def test_what_decides_on_pixels_stays_in_float32(model: GlammModel) -> None:
    model.cast(torch.bfloat16)
    by_dtype: dict[torch.dtype, set[str]] = {torch.float32: set(), torch.bfloat16: set()}
    for name, param in model.named_parameters():
        by_dtype[param.dtype].add(".".join(name.split(".")[: 2 if name.startswith("grounding") else 1]))
    assert by_dtype[torch.bfloat16] == {"clip", "projector", "llm", "grounding_encoder.image_encoder"}
    assert by_dtype[torch.float32] == {
        "text_hidden_fcs",
        "grounding_encoder.mask_decoder",
        "grounding_encoder.no_mask_embed",
        "grounding_encoder.positional_embedding",
    }
    assert (model.dtype, model.device) == (torch.bfloat16, torch.device("cpu"))


def test_a_mask_prompt_is_two_layers_with_a_relu_in_float32(model: GlammModel) -> None:
    first, _, second = model.text_hidden_fcs
    hidden = torch.randn(3, 32).to(torch.bfloat16)
    expected = (hidden.float() @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    found = model.mask_prompts(hidden)
    assert found.shape == (3, SAM.output_channels)
    torch.testing.assert_close(found, expected)


def test_buffers_are_those_of_a_model_that_was_built_at_once(model: GlammModel) -> None:
    with torch.device("meta"):
        empty = GlammModel(model.config)
    empty.to_empty(device="cpu")
    empty.restore_buffers(torch.device("cpu"))
    assert torch.equal(empty.llm.rotary_emb.inv_freq, model.llm.rotary_emb.inv_freq)
    assert torch.equal(empty.clip.clip.attn_mask, model.clip.clip.attn_mask)


def test_llama_turns_by_the_configured_base() -> None:
    """Frequencies are theta to the power of -2i/D."""
    frequencies = LlamaModel(llama_config(LLM)).rotary_emb.inv_freq
    torch.testing.assert_close(frequencies, torch.tensor([500.0 ** (-2 * i / 8) for i in range(4)]))
