"""What only a GPU can show: `python -m pytest -m gpu tests/gpu`, without Ray or a network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, Annotator, PromptTemplate, PruningConfig
from litelvlm.compiled import no_fallback
from litelvlm.compiled_clip import clip_encoder
from litelvlm.config import LAYOUTS
from litelvlm.engine.memory import BatchLimit
from litelvlm.engine.race_inputs import race_prompts
from litelvlm.float8_rows import Float8Linear, scaled_rows
from litelvlm.folded_sam import FoldedSamEncoder
from litelvlm.llama_steps import PlainSteps
from litelvlm.packed_llama import PackedLlama
from litelvlm.run_lengths import mask_run_lengths
from litelvlm.sam_encoders import sam_encoder
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY, Case, load_cases, mask_iou

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CASES = load_cases()
PRUNING = PruningConfig(num_retain_tokens=20, rule="paper")
PHRASES = ["a dog", "the second person from the left, in a red coat", "sky"]
EXACT = {"rtol": 2e-2, "atol": 2e-2}  # of bfloat16


def requests(count: int) -> list[AnnotationRequest]:
    rng = np.random.default_rng(count)
    return [
        AnnotationRequest(
            image=rng.integers(0, 255, (90 + 7 * n, 130, 3), dtype=np.uint8), phrases=PHRASES[: 1 + n % len(PHRASES)]
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def exact() -> Annotator:
    """The parity checkpoint in float32, in the plainest formulation of a GPU."""
    return Annotator.from_pretrained(
        GLAMM_TINY, clip=CLIP_TINY, device="cuda", formulation="sam=folded,llama=padded,clip=plain"
    )


@pytest.fixture(scope="module")
def demo() -> Annotator:
    """The trained checkpoint in bfloat16, in the same."""
    return Annotator.from_pretrained(
        "demo", device="cuda", dtype="bfloat16", formulation="sam=folded,llama=padded,clip=plain"
    )


@pytest.fixture
def _no_tf32() -> Iterator[None]:
    """Float32 throughout, convolutions included."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_no_tf32")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded_masks_are_met_in_float32(exact: Annotator, case: Case) -> None:
    request = AnnotationRequest(image=case.image, phrases=case.phrases)
    (result,) = exact.annotate([request], pruning=case.pruning, layout="rounds", template=case.template)
    assert [mask_iou(*pair) >= 0.999 for pair in zip(result.masks, case.masks, strict=True)] == [True] * len(case.masks)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_do_not_depend_on_the_batch(exact: Annotator, layout: str) -> None:
    asked = requests(5)
    together = exact.annotate(asked, PRUNING, layout)
    for request, result in zip(asked, together, strict=True):
        (alone,) = exact.annotate([request], PRUNING, layout)
        for mask, other in zip(result.masks, alone.masks, strict=True):
            assert mask_iou(mask, other) >= 0.999


@pytest.mark.parametrize("size_hw", [(480, 640), (333, 1000), (64, 50)])
def test_run_lengths_are_those_of_a_cpu(size_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    logits = torch.nn.functional.interpolate(torch.randn(3, 1, 8, 8), size=(256, 256), mode="bicubic")[:, 0]
    scale = 1024 / max(size_hw)
    inside = round(size_hw[0] * scale), round(size_hw[1] * scale)
    sizes = {"input_size_hw": inside, "size_hw": size_hw, "target": 1024}
    for one, other in zip(mask_run_lengths(logits, **sizes), mask_run_lengths(logits.cuda(), **sizes), strict=True):
        assert one.sum() == other.sum() == size_hw[0] * size_hw[1]
        masks = [np.repeat(np.arange(len(runs)) % 2 == 1, runs) for runs in (one, other)]
        assert (masks[0] != masks[1]).mean() < 1e-4


@pytest.mark.parametrize("kind", ["stretches", "kernels", "compiled"])
@torch.inference_mode()
def test_formulations_of_the_language_model_agree(demo: Annotator, kind: str) -> None:
    packed, ids = race_prompts(demo.model)
    plain, other = (PackedLlama(demo.model.llm, one) for one in ("padded", kind))
    for prompts in packed:
        expected = plain(prompts, plain.prefix(ids)).float()
        with no_fallback():
            found = other(prompts, other.prefix(ids)).float()
        assert (found - expected).abs().max() <= 0.05 * expected.abs().max()


@torch.inference_mode()
def test_the_kernels_steps_are_the_plain_ones_at_full_width() -> None:
    from litelvlm.llama_kernels import KernelSteps

    torch.manual_seed(0)
    plain, fused, rounding = PlainSteps(), KernelSteps(), KernelSteps(rounds=True)
    hidden, added = torch.randn(2, 300, 4096, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(4096, device="cuda", dtype=torch.bfloat16)
    for found, expected in zip(
        fused.add_norm(hidden, added.clone(), weight, 1e-5),
        plain.add_norm(hidden, added.clone(), weight, 1e-5),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, **EXACT)
    gate_up = torch.randn(300, 2 * 11008, device="cuda", dtype=torch.bfloat16)
    torch.testing.assert_close(fused.gated(gate_up), plain.gated(gate_up.clone()), **EXACT)
    qkv = torch.randn(300, 3 * 4096, device="cuda", dtype=torch.bfloat16)
    cos, sin = torch.randn(2, 300, 128, device="cuda", dtype=torch.bfloat16)
    expected_heads = plain.rotate(qkv.clone(), cos, sin, 32, 32)
    for found, expected in zip(fused.rotate(qkv, cos, sin, 32, 32), expected_heads, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)
    parts = [(torch.randn(300, 32, 128, device="cuda").bfloat16(), torch.randn(32, 300, device="cuda")) for _ in "123"]
    torch.testing.assert_close(fused.merge(*parts), plain.merge(*parts), **EXACT)
    rows, expected_rows = rounding.given(hidden), scaled_rows(hidden)
    torch.testing.assert_close(rows.scales, expected_rows.scales)
    assert (rows.values.float() == expected_rows.values.float()).float().mean() > 0.999


@pytest.mark.parametrize(
    "kind", ["cudnn", "kernel", "folded+compiled", "cudnn+compiled", "flex+compiled", "kernel+compiled"]
)
@torch.inference_mode()
def test_formulations_of_sam_agree(demo: Annotator, kind: str) -> None:
    grounding = demo.model.grounding_encoder
    pixels = torch.randn(2, 3, *[grounding.sizes.image_size] * 2, device="cuda", dtype=torch.bfloat16)
    expected = FoldedSamEncoder(grounding.image_encoder)(pixels).float()
    with no_fallback():
        found = sam_encoder(grounding, kind)(pixels).float()
    assert (found - expected).abs().max() <= 0.05 * expected.abs().max()


@pytest.mark.parametrize("count", [1, 3, 8])
@torch.inference_mode()
def test_formulations_of_clip_agree(demo: Annotator, count: int) -> None:
    clip = demo.model.clip
    pixels = torch.randn(count, 3, *[clip.sizes.image_size] * 2, device="cuda", dtype=torch.bfloat16)
    with no_fallback():
        found = clip_encoder(clip, "compiled")(pixels)
    for one, expected in zip(found, clip.encode_images(pixels), strict=True):
        assert (one.float() - expected.float()).abs().max() <= 0.05 * expected.abs().max()


@pytest.mark.parametrize(("layout", "rule"), [("separate", "release"), ("shared", "paper"), ("rounds", "context")])
def test_launching_does_not_wait(demo: Annotator, layout: str, rule: str) -> None:
    """PyTorch itself raises where the host would wait for the device."""
    pruning = PruningConfig(num_retain_tokens=20, rule=rule)
    checked = [demo._checked(n, request, PromptTemplate()) for n, request in enumerate(requests(3))]
    batch = demo._batch(checked, pruning, layout)
    with torch.inference_mode():
        demo._batches.collect(demo._batches.launch(batch, pruning, keep_logits=False))
        torch.cuda.set_sync_debug_mode("error")
        try:
            launched = demo._batches.launch(batch, pruning, keep_logits=False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert len(demo._batches.collect(launched)) == 3


def test_results_read_beside_later_work_are_their_own(demo: Annotator) -> None:
    asked = requests(6)
    slow, fast = (demo.annotate(asked, PRUNING, batch_images=size) for size in (6, 1))
    for one, other in zip(slow, fast, strict=True):
        assert [mask_iou(*pair) >= 0.98 for pair in zip(one.masks, other.masks, strict=True)] == [
            True
        ] * one.num_phrases


def test_a_micro_batch_that_does_not_fit_is_split() -> None:
    free, _ = torch.cuda.mem_get_info()
    sizes: list[int] = []

    def process(group: list[int]) -> list[int]:
        sizes.append(len(group))
        torch.empty(max(1, (len(group) - 2) * free), dtype=torch.uint8, device="cuda")
        return group

    limit = BatchLimit(8)
    done = limit.run(range(8), process)
    assert [item for _, group in done for item in group] == list(range(8))
    assert limit.size == 2
    assert sizes[:3] == [8, 4, 2]


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9), reason="the device has no float8"
)
@torch.inference_mode()
def test_float8_products_are_what_a_cpu_computes_wide() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(256, 512).bfloat16()
    inputs = torch.randn(70, 256).bfloat16()
    expected = Float8Linear.from_linear(linear)(inputs)
    found = Float8Linear.from_linear(linear.cuda())(inputs.cuda()).cpu()
    assert (found - expected).abs().max() <= 0.02 * expected.abs().max()
