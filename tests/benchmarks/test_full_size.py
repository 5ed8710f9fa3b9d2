"""Random weights are finite and never zero, masks have outlines, prompts are as long as LLaMA's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.contest import pruning_to, run_engine
from benchmarks.full_size import SIZES, Contest, random_annotator, random_model, size_of
from benchmarks.synthetic import draw_image, draw_phrases
from litelvlm.config import PromptTemplate
from litelvlm.glamm import GlammModel
from litelvlm.models.glamm import GLAMM
from litelvlm.models.lisa import LISA
from litelvlm.models.registry import MODELS
from litelvlm.prompts import build_prompts


def test_weights_are_finite_norms_the_identity_and_no_product_is_zero(small_contest: Contest) -> None:
    for name, module in small_contest.annotator.model.named_modules():
        for kind, param in module.named_parameters(recurse=False):
            assert param.isfinite().all(), name
            if "Norm" in type(module).__name__:
                assert (param == float(kind == "weight")).all(), name
            elif not kind.endswith("bias"):
                assert (param != 0).float().mean() > 0.99, name


def test_the_same_device_gives_the_same_weights() -> None:
    config = SIZES["small"].config
    one, other = (random_model(config, torch.device("cpu"), torch.bfloat16) for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(one.parameters(), other.parameters(), strict=True))
    assert one.dtype == torch.bfloat16
    assert {param.dtype for module in one.float32_modules for param in module.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_masks_have_outlines_and_are_no_noise(dtype: str) -> None:
    size = SIZES["small"]
    with random_annotator(size, torch.device("cpu"), dtype) as annotator:
        contest = Contest(annotator=annotator, size=size)
        pruning = pruning_to(annotator, "paper", size.budgets[0])
        results = run_engine(annotator, contest.records(8, 5), pruning, "separate")
    runs = np.array([len(one) for result in results for one in result.run_lengths])
    num_columns = size.image_hw[1]
    assert (runs > 2).mean() > 0.7, "most masks are neither empty nor full"
    assert np.median(runs) < 6 * num_columns, "a few runs a column; noise would have half as many as rows"


def test_prompts_are_as_long_as_llamas(small_contest: Contest) -> None:
    tokenizer = small_contest.annotator.preprocessor.tokenizer
    for number in range(5):
        for _, phrases in small_contest.records(8, number):
            for prompt in build_prompts(phrases, PromptTemplate(), tokenizer, layout="separate", max_text_tokens=3000):
                assert 33 <= prompt.image_index <= 36
                assert 32 <= prompt.seg_indices[0] - prompt.image_index <= 36
    assert tokenizer.vocab_size == SIZES["full"].config.llm.vocab_size


def test_no_round_asks_what_another_one_asked(small_contest: Contest) -> None:
    asked = [phrase for number in range(4) for _, phrases in small_contest.records(8, number) for phrase in phrases]
    assert len(set(asked)) > 0.98 * len(asked)
    assert draw_phrases(8, "a") == draw_phrases(8, "a")
    assert len(set(draw_phrases(8, "a"))) == 8


def test_images_are_at_both_encoders_sizes() -> None:
    config = SIZES["full"].config
    image = draw_image(config, (480, 640), 3)
    assert image.clip_pixels.shape == (336, 336, 3)
    assert image.sam_pixels.shape == (768, 1024, 3)
    assert image.original_size_hw == (480, 640)
    assert image.sam_pixels.std() > 20
    assert not np.array_equal(image.sam_pixels, draw_image(config, (480, 640), 4).sam_pixels)


def test_the_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        model = GlammModel(SIZES["full"].config)
    assert sum(param.numel() for param in model.parameters()) / 1e9 == pytest.approx(7.7, abs=0.15)


def test_another_model_has_its_own_clip_and_the_same_shares_of_tokens() -> None:
    assert size_of("full", GLAMM) == SIZES["full"]
    size = size_of("full", LISA)
    assert (size.config.description, size.config.clip.image_size) == (LISA, 224)
    assert size.budgets == (85, 256, 57, 28)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_annotates_with_random_weights(name: str) -> None:
    size = size_of("small", MODELS[name])
    with random_annotator(size, torch.device("cpu"), "float32") as annotator:
        contest = Contest(annotator=annotator, size=size)
        results = run_engine(annotator, contest.records(2, 5), pruning_to(annotator, "paper", 5), "separate")
    assert [len(result.run_lengths) for result in results] == [2] * size.num_images
    assert {result.num_visual_tokens for result in results} == {size.config.num_visual_tokens}
