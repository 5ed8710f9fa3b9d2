"""The formulas for needed operations against torch's counter on the meta device, and against the published table."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from litelvlm.config import ClipSizes, GlammConfig, LlmSizes, SamSizes
from litelvlm.flops import (
    Workload,
    clip_text_flop,
    clip_vision_flop,
    mask_decoder_flop,
    mask_prompt_flop,
    needed_flop,
    phrase_mask_decoder_flop,
    prefill_flop,
    projector_flop,
    sam_encoder_flop,
    shared_prefill_flop,
)
from litelvlm.glamm import GlammModel
from litelvlm.mask_decoder import PhraseMaskDecoder

pytestmark = pytest.mark.slow

SMALL = GlammConfig(
    llm=LlmSizes(
        hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2
    ),
    sam=SamSizes(
        image_size=160,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        global_attn_indexes=(2,),
        window_size=4,
    ),
    clip=ClipSizes(
        image_size=70,
        vision_width=48,
        vision_layers=4,
        vision_heads=4,
        vision_mlp_dim=112,
        embed_dim=40,
        text_width=32,
        text_layers=2,
        text_heads=2,
        text_mlp_dim=96,
    ),
)


@pytest.fixture(scope="module", params=[GlammConfig(), SMALL], ids=["published", "small"])
def model(request: pytest.FixtureRequest) -> GlammModel:
    """A model without memory."""
    with torch.device("meta"):
        return GlammModel(request.param)


def test_encoders_and_decoder_need_what_torch_counts(model: GlammModel) -> None:
    config, size = model.config, model.config.sam
    image = torch.empty(1, 3, size.image_size, size.image_size, device="meta")
    assert sam_encoder_flop(size) == _counted(lambda: model.grounding_encoder.encode_images(image))
    pixels = torch.empty(1, 3, config.clip.image_size, config.clip.image_size, device="meta")
    assert clip_vision_flop(config.clip) == _counted(lambda: model.clip.encode_images(pixels))
    text = torch.zeros(1, config.clip.context_length, dtype=torch.long, device="meta")
    assert clip_text_flop(config.clip) == _counted(lambda: model.clip.encode_texts(text))
    embedding = torch.empty(1, size.output_channels, size.grid_size, size.grid_size, device="meta")
    prompt = torch.empty(1, size.output_channels, device="meta")
    assert mask_decoder_flop(size) == _counted(lambda: model.grounding_encoder.decode_masks(embedding, prompt))
    decode = PhraseMaskDecoder(model.grounding_encoder)
    decode(embedding, [0], prompt)  # the positions of an image's patches are computed once
    assert phrase_mask_decoder_flop(size) == _counted(lambda: decode(embedding, [0], prompt))
    assert phrase_mask_decoder_flop(size) < 0.7 * mask_decoder_flop(size)


def test_the_language_model_needs_what_torch_counts(model: GlammModel) -> None:
    config = model.config
    visual = torch.empty(1, config.num_visual_tokens, config.clip.vision_width, device="meta")
    assert projector_flop(config) == _counted(lambda: model.projector(visual))
    hidden = torch.empty(1, config.llm.hidden_size, device="meta")
    assert mask_prompt_flop(config) == _counted(lambda: model.mask_prompts(hidden))
    for num_tokens in (9, 133, 645):
        embeds = torch.empty(1, num_tokens, config.llm.hidden_size, device="meta")
        mask = torch.empty(1, 1, num_tokens, num_tokens, device="meta")  # given, or it would be read to be made
        counted = _counted(functools.partial(model.llm, inputs_embeds=embeds, attention_mask=mask))
        assert prefill_flop(config.llm, num_tokens) == pytest.approx(counted, rel=1e-3)  # rotary angles are not ours


def test_the_published_model_needs_what_the_literature_counts() -> None:
    config = GlammConfig()
    assert sam_encoder_flop(config.sam) / 1e12 == pytest.approx(5.96, abs=0.005)
    assert clip_vision_flop(config.clip) / 1e12 == pytest.approx(0.38, abs=0.015)
    assert clip_text_flop(config.clip, 16) / 1e12 == pytest.approx(0.003, abs=0.0005)
    assert mask_decoder_flop(config.sam) / 1e12 == pytest.approx(0.004, abs=0.0005)
    prefills = [prefill_flop(config.llm, num_tokens) / 1e12 for num_tokens in (645, 261, 197, 133)]
    assert prefills == pytest.approx([8.57, 3.42, 2.57, 1.73], abs=0.006)


def test_a_workload_adds_up_its_stages() -> None:
    config = GlammConfig()
    one = needed_flop(
        config, Workload(images=1, prompts=1, phrases=1, retained_tokens=192, text_tokens=69, scored_texts=1)
    )
    many = needed_flop(
        config, Workload(images=5, prompts=15, phrases=15, retained_tokens=15 * 192, text_tokens=15 * 69)
    )
    assert one["llm"] == pytest.approx(
        prefill_flop(config.llm, 261) + projector_flop(config) + mask_prompt_flop(config)
    )
    assert many["sam"] == 5 * one["sam"]
    assert many["decode_masks"] == 15 * one["decode_masks"]
    assert many["prune"] == 0
    assert many["llm"] == pytest.approx(15 * one["llm"] - 10 * projector_flop(config))
    nothing = Workload(images=0, prompts=0, phrases=0, retained_tokens=0, text_tokens=0)
    assert set(needed_flop(config, nothing).values()) == {0.0}


def test_a_shared_prefix_is_needed_once() -> None:
    config = GlammConfig()
    shared = Workload(images=1, prompts=1, phrases=8, retained_tokens=192, text_tokens=38 + 8 * 31, shared=True)
    apart = Workload(images=1, prompts=8, phrases=8, retained_tokens=8 * 192, text_tokens=8 * 69)
    assert needed_flop(config, shared)["llm"] < 0.3 * needed_flop(config, apart)["llm"]
    assert shared_prefill_flop(config.llm, 200, 30, 1) < prefill_flop(config.llm, 230)  # the prefix sees no branch
    assert shared_prefill_flop(config.llm, 200, 0, 0) == prefill_flop(config.llm, 200)


def _counted(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()
