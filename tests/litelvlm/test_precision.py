"""Float8 converts LLaMA's and SAM's linear layers alone, hardly moves a mask, and says where it cannot run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.precision import SimulatedFloat8Linear, float8_agreement, through_float8
from litelvlm import Annotator
from litelvlm.checkpoint import open_checkpoint
from litelvlm.engine.device import resolve_dtype
from litelvlm.float8_rows import Float8Linear
from litelvlm.loading import load_model
from litelvlm.precision import check_float8, float8_layers
from tests.litelvlm.engine.test_annotator import _requests

pytestmark = pytest.mark.slow

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that may: products in float8 are computed wide there."""
    monkeypatch.setattr("litelvlm.precision.check_float8", lambda device: None)
    monkeypatch.setattr("litelvlm.loading.check_float8", lambda device: None)


def test_exactly_the_intended_layers_are_converted(able: Any) -> None:
    model = load_model(open_checkpoint("demo", None), CPU, resolve_dtype("float8"))
    converted = {name for name, module in model.named_modules() if isinstance(module, Float8Linear)}
    llama = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    llama += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    sam = ["attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2"]
    sizes, encoder = model.config, "grounding_encoder.image_encoder"
    expected = {f"llm.layers.{i}.{name}" for i in range(sizes.llm.num_hidden_layers) for name in llama}
    expected |= {f"{encoder}.layers.{i}.{name}" for i in range(sizes.sam.num_hidden_layers) for name in sam}
    assert converted == expected
    assert model.dtype == torch.bfloat16
    heads = {param.dtype for module in model.float32_modules for param in module.parameters()}
    assert heads == {torch.float32}
    assert model.get_parameter(f"{encoder}.neck.conv1.weight").dtype == torch.bfloat16
    assert {param.dtype for param in model.clip.parameters()} == {torch.bfloat16}


def test_a_simulated_layer_errs_by_percents_at_any_scale() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).requires_grad_(False)
    inputs = torch.randn(60, 64) * torch.logspace(-3, 3, 60)[:, None]
    exact, found = linear(inputs), SimulatedFloat8Linear(linear)(inputs)
    error = (found - exact).abs().amax(1) / exact.abs().amax(1)
    assert error.min() > 0
    assert 0.005 < error[30:].mean() < error.max() < 0.1  # the bias, which is exact, hides it in small rows


def test_float8_keeps_three_bits_at_any_scale() -> None:
    values = torch.randn(50, 64) * torch.logspace(-6, 6, 50)[:, None]
    found = through_float8(values)
    large = values.abs() > values.abs().amax(1, keepdim=True) / 1000
    assert ((found - values).abs()[large] <= values.abs()[large] / 16 * 1.001).all()
    assert not torch.equal(found, values)
    assert torch.equal(through_float8(torch.zeros(2, 8)), torch.zeros(2, 8))


def test_masks_hardly_move() -> None:
    agreement = float8_agreement("cpu", num_scenes=10)
    assert agreement.phrases >= 10
    assert 0.9 <= agreement.mean_iou < 1, f"float8 simulated against float32: {agreement}"


def test_layers_that_no_kernel_multiplies_stay() -> None:
    model = Annotator.from_pretrained("demo").model
    model.llm.layers[0].mlp.gate_proj = nn.Linear(160, 24)
    assert "llm.layers.0.mlp.gate_proj" not in float8_layers(model)
    assert "llm.layers.0.mlp.up_proj" not in float8_layers(model)  # it runs as one with the gate
    assert "llm.layers.0.mlp.down_proj" in float8_layers(model)
    assert "llm.layers.1.mlp.up_proj" in float8_layers(model)


def test_a_cpu_refuses_it_by_name() -> None:
    with pytest.raises(ValueError, match=r"^dtype: float8 needs a CUDA device, not cpu; use bfloat16 or float32$"):
        Annotator.from_pretrained("demo", dtype="float8")


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6)])
def test_an_old_gpu_refuses_it_by_name(monkeypatch: pytest.MonkeyPatch, capability: Any) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    with pytest.raises(ValueError, match=rf"8\.9 or higher.*A100 has {capability[0]}\.{capability[1]}"):
        check_float8(CUDA)


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0)])
def test_a_gpu_that_can_needs_nothing_else(monkeypatch: pytest.MonkeyPatch, capability: Any) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    check_float8(CUDA)


def test_float8_answers_nearly_as_bfloat16(able: Any) -> None:
    requests = _requests(3, 2)
    wide, narrow = (Annotator.from_pretrained("demo", dtype=dtype) for dtype in ("bfloat16", "float8"))
    for one, other in zip(wide.annotate(requests), narrow.annotate(requests), strict=True):
        error = np.abs(one.mask_prompts - other.mask_prompts).max() / np.abs(one.mask_prompts).max()
        assert 0 < error < 0.3
