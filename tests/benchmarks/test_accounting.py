"""Operations counted by hand, against the published floors, and against what torch counts in a call to the engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.accounting import (
    Operations,
    PromptShape,
    count_call,
    formulation_of,
    llm_executed_flop,
    llm_needed_flop,
    prompt_shape,
    sam_executed_flop,
    sam_needed_flop,
)
from benchmarks.contest import pruning_to, run_engine
from benchmarks.full_size import Contest
from litelvlm.config import LAYOUTS, GlammConfig, LlmSizes, SamSizes
from litelvlm.engine.packing import packed_length
from litelvlm.flops import clip_vision_flop, phrase_mask_decoder_flop, sam_encoder_flop
from litelvlm.prompts import Prompt

TINY = LlmSizes(hidden_size=4, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)


def _prompt(prefix: int, num_retained: int, text: int) -> PromptShape:
    trunk = num_retained + text
    return PromptShape(prefix=prefix, trunk=trunk, branches=(), seen=(prefix + trunk,), packed=trunk)


def test_a_prompt_is_read_just_before_seg() -> None:
    """3 tokens, the image, 4 tokens, `[SEG]`, 2 tokens that nobody reads."""
    prompt = Prompt(
        input_ids=(1, 5, 6, -200, 7, 7, 7, 7, 9, 8, 2), image_index=3, seg_indices=(8,), phrase_indices=(0,)
    )
    assert prompt_shape(prompt, 10) == PromptShape(prefix=3, trunk=14, branches=(), seen=(17,), packed=14)


def test_branches_share_what_stands_before_them() -> None:
    """Two branches of 2 and 3 tokens with a `[SEG]` each, of which the first one need not be computed."""
    prompt = Prompt(
        input_ids=(1, -200, 7, 7, 9, 8, 8, 8, 9), image_index=1, seg_indices=(4, 8), phrase_indices=(0, 1),
        branch_starts=(2, 5),
    )  # fmt: skip
    shape = prompt_shape(prompt, 5)
    assert shape == PromptShape(prefix=1, trunk=5, branches=(2, 3), seen=(8, 9), packed=packed_length(prompt, 5))
    assert shape.packed in (10, 11)
    assert shape.num_tokens == 10


def test_later_rounds_see_earlier_ones() -> None:
    prompt = Prompt(input_ids=(1, -200, 7, 9, 8, 8, 9, 2), image_index=1, seg_indices=(3, 6), phrase_indices=(0, 1))
    assert prompt_shape(prompt, 5) == PromptShape(prefix=1, trunk=9, branches=(), seen=(7, 10), packed=9)


def test_the_language_model_by_hand() -> None:
    """Width 4, keys and values half as wide, MLP 8: 32 for keys and values of a token, 64 + 192 for the rest."""
    shape = PromptShape(prefix=2, trunk=3, branches=(), seen=(5,), packed=3)
    pairs = 3 + 4 + 5
    assert llm_needed_flop(TINY, [shape]) == 3 * (32 + 256) + 3 * 32 + 1 * 256 + 16 * (pairs + 5)
    longer = PromptShape(prefix=2, trunk=5, branches=(), seen=(7,), packed=5)
    executed = 8 * (32 + 256) + 8 * 32 + 2 * 256 + 16 * (2 * 5 * 7 + 2 * 7)
    assert llm_executed_flop(TINY, [shape, longer]) == executed


def test_a_branch_by_hand() -> None:
    shape = PromptShape(prefix=1, trunk=2, branches=(1, 2), seen=(4, 5), packed=6)
    pairs = (2 + 3) + 4 + (4 + 5)
    assert llm_needed_flop(TINY, [shape]) == 5 * (32 + 256) + 5 * 32 + 2 * 256 + 16 * (pairs + 4 + 5)
    assert llm_executed_flop(TINY, [shape]) == 6 * (32 + 256) + 6 * 32 + 2 * 256 + 16 * (6 * 7 + 2 * 7)


def test_padding_of_windows_by_hand() -> None:
    """A grid of 8 in windows of 3 is padded to 9: 81 - 64 = 17 patches more in each of two layers."""
    sizes = SamSizes(
        image_size=128, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, global_attn_indexes=(1,),
        window_size=3,
    )  # fmt: skip
    products, attention = 2 * 17 * 8 * 32**2, 2 * 17 * 4 * 32 * (9 + 3)
    whole = sam_encoder_flop(sizes)
    assert sam_executed_flop(sizes, "plain") == whole
    assert sam_executed_flop(sizes, "folded") == whole - products
    assert sam_needed_flop(sizes) == sam_executed_flop(sizes, "kernel") == whole - products - attention
    assert sam_executed_flop(SamSizes(), "folded") / 1e12 == pytest.approx(5.67, abs=0.005)


@pytest.mark.parametrize(
    ("num_phrases", "floors_ms"),
    [(1, (17.4, 11.2, 10.1, 9.1)), (3, (36.9, 18.4, 15.3, 12.2)), (8, (85.8, 36.3, 28.1, 20.0))],
)
def test_floors_of_the_published_model(num_phrases: int, floors_ms: tuple[float, ...]) -> None:
    """Milliseconds an image at 798 TFLOP/s, a prompt for each phrase, as counted elsewhere."""
    config = GlammConfig()
    encoders = sam_needed_flop(config.sam) + clip_vision_flop(config.clip)
    for budget, expected in zip((576, 192, 128, 64), floors_ms, strict=True):
        prompts = llm_needed_flop(config.llm, [_prompt(35, budget, 33)] * num_phrases)
        flop = encoders + prompts + num_phrases * phrase_mask_decoder_flop(config.sam)
        assert 1e3 * flop / 798e12 == pytest.approx(expected, rel=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("num_phrases", "budget"), [(1, 36), (3, 12)])
def test_executed_is_what_torch_counts(small_contest: Contest, layout: str, num_phrases: int, budget: int) -> None:
    """In the plain formulation, with texts that the engine has not seen."""
    annotator = small_contest.annotator
    pruning = pruning_to(annotator, "paper", budget)
    first = 100 + 10 * LAYOUTS.index(layout)
    warm, records = (small_contest.records(num_phrases, first + number) for number in range(2))
    run_engine(annotator, warm, pruning, layout)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose operations the counter does not know
    try:
        with FlopCounterMode(display=False) as counter:
            run_engine(annotator, records, pruning, layout)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    work = count_call(annotator, records, pruning, layout)
    assert work.executed == pytest.approx(counter.get_total_flops(), rel=0.002)
    assert 0.6 * work.executed < work.needed < work.executed


def test_the_prefix_is_counted_as_keys_alone(small_contest: Contest) -> None:
    """A longer text before the image costs nothing but the keys that are seen."""
    llm = small_contest.size.config.llm
    short, long = _prompt(0, 12, 33), _prompt(100, 12, 33)
    keys = 4 * llm.hidden_size * 100 * ((llm.num_hidden_layers - 1) * 45 + 1)
    assert llm_needed_flop(llm, [long]) - llm_needed_flop(llm, [short]) == keys


def test_an_engine_may_tell_how_it_computes(small_contest: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
    annotator, records = small_contest.annotator, small_contest.records(3, 900)
    pruning = pruning_to(annotator, "paper", 12)
    plain = count_call(annotator, records, pruning, "separate")
    told = SimpleNamespace(sam="kernel+compiled", llama="stretches")
    monkeypatch.setattr(annotator, "formulation", told, raising=False)
    assert formulation_of(annotator) == ("kernel", "stretches")
    kernel = count_call(annotator, records, pruning, "separate")
    assert kernel.needed == plain.needed < kernel.executed < plain.executed
    monkeypatch.setattr(annotator, "formulation", None)
    assert formulation_of(annotator) == ("plain", "padded")


def test_waste_is_what_is_not_needed() -> None:
    assert Operations(needed=75.0, executed=100.0).waste == 0.25
