"""LLaMA's steps compiled: the same values, and one compilation whatever the number of tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from litelvlm.compiled_steps import CompiledSteps
from litelvlm.llama_steps import PlainSteps, Steps
from litelvlm.packed_llama import PackedLlama
from tests.litelvlm.fake_gpu import fake_gpu, on_gpu
from tests.litelvlm.test_packed_llama import PREFIX, one_prompt, small_llama

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_compiler")]

HEADS, KV_HEADS, SIZE, WIDTH = 4, 2, 6, 12
NUM_STEPS = 5


def outputs(steps: Steps, tokens: int, num_parts: int = 2) -> list[Tensor]:
    """What every step gives for so many tokens."""
    generator = torch.Generator().manual_seed(tokens)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    hidden, added, weight = drawn(tokens, WIDTH), drawn(tokens, WIDTH), drawn(WIDTH)
    qkv = drawn(tokens, (HEADS + 2 * KV_HEADS) * SIZE)
    parts = [(drawn(tokens, HEADS, SIZE), drawn(HEADS, tokens)) for _ in range(num_parts)]
    return [
        steps.norm(hidden, weight, 1e-5),
        *steps.add_norm(hidden, added, weight, 1e-5),
        *steps.rotate(qkv, drawn(tokens, SIZE), drawn(tokens, SIZE), HEADS, KV_HEADS),
        steps.gated(drawn(tokens, 2 * 10)),
        steps.merge(*parts),
    ]


def assert_same(steps: Steps, tokens: int, num_parts: int = 2) -> None:
    for found, expected in zip(
        outputs(steps, tokens, num_parts), outputs(PlainSteps(), tokens, num_parts), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_every_step_is_compiled_once_for_all_batches() -> None:
    steps = CompiledSteps("aot_eager")
    for tokens in (5, 9, 35, 2, 600):
        assert_same(steps, tokens)
    assert counters["stats"]["unique_graphs"] == NUM_STEPS
    assert_same(steps, 7, num_parts=3)
    assert_same(steps, 8, num_parts=3)
    assert counters["stats"]["unique_graphs"] == NUM_STEPS + 1
    assert not counters["graph_break"]


@torch.inference_mode()
def test_slices_of_any_length_are_merged_by_one_compilation() -> None:
    """As branches are: the log-sum-exps' rows are longer than what is merged of them."""
    steps, plain = CompiledSteps("eager"), PlainSteps()
    for tokens, start in ((9, 4), (12, 5), (30, 3)):
        parts = [(torch.randn(tokens, HEADS, SIZE)[start:], torch.randn(HEADS, tokens)[:, start:]) for _ in "12"]
        torch.testing.assert_close(steps.merge(*parts), plain.merge(*parts))
    assert counters["stats"]["unique_graphs"] == 1


@torch.inference_mode()
def test_inductor_compiles_every_step_exactly() -> None:
    steps = CompiledSteps()
    for tokens in (5, 33):
        assert_same(steps, tokens)
    assert all(one.is_compiled for one in vars(steps).values())


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@torch.inference_mode()
def test_the_forward_pass_is_the_plain_one(num_kv_heads: int) -> None:
    llm = small_llama(num_kv_heads)
    plain, compiled = PackedLlama(llm), PackedLlama(llm, "compiled")
    assert isinstance(compiled._steps, CompiledSteps)
    compiled._steps = CompiledSteps("eager")
    for branches in (None, [0, 0, 0, 1, 1, 2, 2]):
        prompts = one_prompt(torch.randn(7, 32), branches=branches, read=[4, 6])
        found, expected = (one(prompts, one.prefix(torch.tensor(PREFIX))) for one in (compiled, plain))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == NUM_STEPS - 1, "rows need no merging"


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_attention_is_in_stretches_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def attend(queries: Tensor, *given: Any, **options: Any) -> Any:
        asked.append(queries.device.type)
        return torch.empty_like(queries), queries.new_empty(queries.shape[1], len(queries), dtype=torch.float32)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attend)
    llm, prompts, prefix = small_llama(2), one_prompt(torch.randn(7, 32), read=[6]), torch.tensor(PREFIX)
    with fake_gpu():
        runner = PackedLlama(on_gpu(llm), "compiled")
        runner._steps = PlainSteps()
        found = runner(on_gpu(prompts), runner.prefix(on_gpu(prefix)))
    assert (found.shape, found.device.type) == ((1, 32), "cuda")
    assert asked == ["cuda"] * 2 * 2, "its own stretch and the prefix, in all layers but the last"
