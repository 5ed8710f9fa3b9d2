"""Patches are compared with texts exactly as the pruning rules do it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litelvlm import Annotator
from litelvlm.checkpoint import DEMO_DIRECTORY
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.patch_similarity import PatchSimilarity
from litelvlm.rules.evidence import similarity_scores


@pytest.fixture(scope="module")
def similarity() -> PatchSimilarity:
    """The shipped checkpoint's."""
    return PatchSimilarity.from_pretrained("demo")


def test_products_are_the_rules_evidence(similarity: PatchSimilarity, demo_annotator: Annotator) -> None:
    scenes = [draw_scene(HELD_OUT_SEED + number) for number in range(2)]
    template = demo_annotator.config.template
    prepared = [demo_annotator.preprocessor.prepare(scene.image) for scene in scenes]
    texts = [[template.ask(phrase) for phrase in scene.phrases] for scene in scenes]
    found = similarity([image.clip_pixels for image in prepared], texts)
    runner = demo_annotator._runner
    with torch.inference_mode():
        features = runner.encode_clip(prepared)
        for index, own in enumerate(texts):
            read = torch.stack(list(runner.embed_questions(own).values()))
            expected = similarity_scores(features.embedded[index : index + 1], read[None])[0].numpy()
            np.testing.assert_allclose(found[index].product, expected, rtol=1e-4, atol=1e-4)


def test_cosines_do_not_depend_on_lengths(similarity: PatchSimilarity) -> None:
    [found] = similarity([draw_scene(HELD_OUT_SEED).image[:144, :144]], [["a red star", "a red star", "a circle"]])
    assert found.product.shape == found.cosine.shape == (3, 144)
    assert np.array_equal(found.cosine[0], found.cosine[1])
    assert np.abs(found.cosine).max() <= 1
    length = found.product / found.cosine  # of the patch times that of the text
    np.testing.assert_allclose(length[0] / length[2], (length[0] / length[2]).mean(), rtol=1e-3)


def test_images_without_texts_and_no_images(similarity: PatchSimilarity) -> None:
    assert similarity([], []) == []
    [found] = similarity([np.zeros((144, 144, 3), np.uint8)], [[]])
    assert found.product.shape == (0, 144)


def test_an_absent_checkpoint_is_told() -> None:
    with pytest.raises(FileNotFoundError, match="model: no such directory"):
        PatchSimilarity.from_pretrained(DEMO_DIRECTORY / "none")
