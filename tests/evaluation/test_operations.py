"""Modelled operations of the language model."""

from typing import Any

import pytest

from litelvlm.config import GlammConfig, PruningConfig
from litelvlm.evaluation.operations import llm_tflop
from litelvlm.flops import prefill_flop

SIZES = GlammConfig()
WORK = {"prompts": 10, "text_tokens": 800, "expressions": 10}


def _tflop(rule: Any, tokens: Any, **settings: Any) -> Any:
    return llm_tflop(SIZES, PruningConfig(rule=rule, num_retain_tokens=tokens, **settings), **WORK)


def test_a_prompt_costs_its_tokens() -> None:
    assert _tflop("none", None) == pytest.approx(prefill_flop(SIZES.llm, 576 + 80) / 1e12)
    assert _tflop("release", 192) == pytest.approx(prefill_flop(SIZES.llm, 192 + 80) / 1e12)
    assert 2 < _tflop("none", None) / _tflop("release", 192) < 3


def test_fastv_reads_everything_in_its_first_layers() -> None:
    first, rest = _tflop("none", None), _tflop("release", 192)
    assert _tflop("fastv", 192, fastv_layer=2) == pytest.approx((2 * first + 30 * rest) / 32)
    assert _tflop("fastv", 192, fastv_layer=32) == pytest.approx(first)


def test_rounds_share_a_prompt() -> None:
    work = {"prompts": 1, "text_tokens": 150, "expressions": 3}
    pruning = PruningConfig(rule="release", num_retain_tokens=192)
    assert llm_tflop(SIZES, pruning, **work) == pytest.approx(prefill_flop(SIZES.llm, 342) / 3 / 1e12)
    assert llm_tflop(SIZES, pruning, prompts=0, text_tokens=0, expressions=0) is None
