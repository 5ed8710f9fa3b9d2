"""Nothing in the hot path makes the host wait for the device.

The stages run on the meta device, which has no values: whatever would have to wait for one (`.item()`, a copy to the
host, a shape that depends on values) raises. A watch over all operations finds what a GPU would also wait for: copies
to the device that are not asynchronous, and host tensors used as indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from litelvlm import Annotator, PromptTemplate, PruningConfig
from litelvlm.config import LAYOUTS, RULES
from litelvlm.engine.request import AnnotationRequest
from litelvlm.folded_sam import FoldedSamEncoder
from litelvlm.glamm import GlammModel

pytestmark = pytest.mark.slow

META = torch.device("meta")


class SyncDetector(TorchDispatchMode):
    """Raises where a GPU's host would wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_host = [tensor for tensor in tensors if tensor.device.type == "cpu" and tensor.dim()]
        target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if func is torch.ops.aten._to_copy.default:
            if on_host and target == META and not kwargs.get("non_blocking"):
                raise AssertionError(f"a blocking copy to the device: {[tuple(t.shape) for t in on_host]}")
        elif func is torch.ops.aten.copy_.default:
            if on_host and any(tensor.is_meta for tensor in tensors) and not (args[2:] and args[2]):
                raise AssertionError("a blocking copy to the device")
        elif on_host and any(tensor.is_meta for tensor in tensors):
            raise AssertionError(f"{func}: mixes host and device")
        return func(*args, **kwargs)


class ListDetector(TorchFunctionMode):
    """Raises where Python values become a tensor on the device, which copies them and waits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].is_meta:
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(index, list | range | np.ndarray) for index in indices):
                raise AssertionError("a list as an index")
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == META:
            raise AssertionError("values become a tensor on the device")
        return func(*args, **kwargs)


@pytest.fixture(scope="module")
def meta_annotator(tiny_annotator: Annotator) -> Annotator:
    """The tiny model without values."""
    with META:
        model = GlammModel(tiny_annotator.config, lm_head=True)
    model.requires_grad_(False).eval().restore_buffers(META)
    annotator = Annotator(tiny_annotator.checkpoint, model)
    annotator._runner._encode_sam = FoldedSamEncoder(model.grounding_encoder.image_encoder)
    return annotator


def launch(annotator: Annotator, pruning: PruningConfig, layout: str) -> Any:
    rng = np.random.default_rng(0)
    phrases = [["dog", "the red car"], ["sky"]]
    requests = [
        AnnotationRequest(image=rng.integers(0, 255, (60 + 9 * n, 80, 3), dtype=np.uint8), phrases=asked)
        for n, asked in enumerate(phrases)
    ]
    checked = [annotator._checked(n, request, PromptTemplate()) for n, request in enumerate(requests)]
    batch = annotator._batch(checked, pruning, layout, compare=True)
    with torch.inference_mode():
        annotator._batches.launch(batch, pruning, keep_logits=False)  # tables and embeddings are made once
        with SyncDetector(), ListDetector():  # type: ignore[no-untyped-call]
            return annotator._batches.launch(batch, pruning, keep_logits=False)


@pytest.mark.parametrize(
    ("rule", "positions", "layout"),
    [
        *((rule, "compact", "shared") for rule in RULES),
        *((rule, "compact", layout) for rule in ("paper", "fastv", "none") for layout in LAYOUTS if layout != "shared"),
        *(("paper", "original", layout) for layout in LAYOUTS),
    ],
)
def test_launching_a_batch_does_not_wait(
    meta_annotator: Annotator, monkeypatch: pytest.MonkeyPatch, rule: Any, positions: str, layout: Any
) -> None:
    monkeypatch.setattr("litelvlm.engine.batch.NamedCopies", dict)
    pruning = PruningConfig(rule=rule, num_retain_tokens=20, positions=positions)
    launched = launch(meta_annotator, pruning, layout)
    assert sum(len(part.phrases) for part in launched.decoded) == 3
    assert all(part.logits.is_meta for part in launched.decoded)
    assert launched.prompts["seg_probability"].shape == (3,)
    assert sum(len(part.answers["clip_similarity"]) for part in launched.decoded) == 3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rule", ["paper", "fastv"])
def test_attention_in_stretches_does_not_wait(
    meta_annotator: Annotator, monkeypatch: pytest.MonkeyPatch, rule: str, layout: str
) -> None:
    def attend(queries: torch.Tensor, *given: Any, **options: Any) -> Any:
        return torch.empty_like(queries), queries.new_empty(queries.shape[1], len(queries), dtype=torch.float32)

    monkeypatch.setattr("litelvlm.engine.batch.NamedCopies", dict)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attend)
    monkeypatch.setattr(meta_annotator._runner._llama, "kind", "stretches")
    launched = launch(meta_annotator, PruningConfig(rule=rule, num_retain_tokens=20), layout)
    assert launched.prompts["mask_prompts"].is_meta


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x[[0, 1]],
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: torch.tensor([1.0, 2.0]).to(META),
        lambda x: x + torch.ones(3),
        lambda x: x.cpu(),
    ],
)
def test_the_detector_detects(wait: Any) -> None:
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), SyncDetector(), ListDetector():  # type: ignore[no-untyped-call]
        wait(torch.zeros(3, device=META))
