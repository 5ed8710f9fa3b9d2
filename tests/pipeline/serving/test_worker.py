"""A replica's work: the same answers in any batch, images encoded once, failures that cost nobody else."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.masks import decode_mask, mask_iou
from litelvlm.pipeline.serving.embedding_cache import EmbeddingCache
from litelvlm.pipeline.serving.questions import EXPIRED, MISSING_IMAGE, Reply, Unanswered
from litelvlm.pipeline.serving.served_model import AskedModel
from litelvlm.pipeline.serving.worker import Worker
from litelvlm.pipeline.stages.engine import LiteLVLMEngine
from tests.fakes import ABSENT_PHRASE, EMPTY_PHRASE, NAN_PHRASE, true_mask
from tests.pipeline.serving.doubles import Model, question

DATA = Path(__file__).parents[2] / "parity/data"


def image(seed: int, size_hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def test_an_image_is_encoded_once_and_every_phrase_gets_its_mask() -> None:
    model, rgb = Model(), image(0)
    worker = Worker(model, EmbeddingCache(1 << 20), "one")
    first, second = (worker.answer([question(rgb, phrase)])[0] for phrase in ("cat", "a dog"))
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert (first.cached_image, second.cached_image, model.encoded) == (False, True, [1])
    for answer, phrase in ((first, "cat"), (second, "a dog")):
        assert answer.size_hw == (20, 30)
        assert np.array_equal(decode_mask(answer.phrases[0].mask), true_mask(rgb, phrase))
        assert answer.phrases[0].num_retained_tokens == len(answer.phrases[0].retained) == 8


def test_the_same_image_twice_in_a_batch_is_encoded_once() -> None:
    model, rgb = Model(), image(0)
    worker = Worker(model, EmbeddingCache(0))
    answers = worker.answer(
        [question(rgb, "cat"), question(rgb, "dog", "bird"), question(image(1), "cat", key="other")]
    )
    assert model.encoded == [2]
    assert [len(one.phrases) for one in answers if isinstance(one, Reply)] == [1, 2, 1]


def test_budgets_and_rules_are_not_mixed() -> None:
    model, rgb = Model(), image(0)
    asked = [question(rgb, "cat", num_retain_tokens=budget) for budget in (4, 8, 4, None)]
    answers = Worker(model, EmbeddingCache(1 << 20)).answer(asked)
    assert [one.phrases[0].num_retained_tokens for one in answers if isinstance(one, Reply)] == [4, 8, 4, 64]
    assert sorted(map(len, model.asked)) == [1, 1, 2]


def test_a_phrase_on_which_the_model_breaks_fails_alone() -> None:
    worker = Worker(Model(break_on="bad"), EmbeddingCache(1 << 20))
    answers = worker.answer(
        [question(image(0), "cat", "bad", EMPTY_PHRASE), question(image(1), "dog", NAN_PHRASE, key="other")]
    )
    assert [[one.status for one in answer.phrases] for answer in answers if isinstance(answer, Reply)] == [
        ["ok", "failed", "empty"],
        ["ok", "failed"],
    ]
    assert isinstance(answers[0], Reply)
    assert "the model broke" in str(answers[0].phrases[1].error)
    assert answers[0].phrases[2].score is None


def test_what_the_model_says_is_absent_has_no_mask_whatever_else_is_asked() -> None:
    model, rgb = Model(), image(0)
    [answer] = Worker(model, EmbeddingCache(1 << 20)).answer([question(rgb, ABSENT_PHRASE, "cat")])
    assert isinstance(answer, Reply)
    absent, cat = answer.phrases
    assert (absent.status, absent.score, absent.mask.area, cat.status) == ("absent", None, 0, "ok")
    assert np.array_equal(decode_mask(cat.mask), true_mask(rgb, "cat"))


def test_what_is_not_held_is_asked_for_and_what_nobody_waits_for_is_left() -> None:
    model = Model()
    worker = Worker(model, EmbeddingCache(1 << 20))
    answers = worker.answer([question(image(0), "cat", prepared=None), question(image(0), "cat", expires_at=0.0)])
    assert answers == [Unanswered(reason=MISSING_IMAGE), Unanswered(reason=EXPIRED)]
    assert not model.encoded
    assert not model.asked


@pytest.fixture(scope="module")
def tiny() -> AskedModel:
    config = ModelConfig(model=str(DATA / "glamm-tiny"), clip=str(DATA / "clip-tiny"), device="cpu")
    engine = LiteLVLMEngine(model=config)
    return AskedModel(engine=engine, annotator=engine.annotator(1))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["paper", "release", "fastv"])
def test_masks_of_the_real_engine_are_those_of_the_job_cached_or_not_in_any_batch(tiny: AskedModel, rule: str) -> None:
    engine = LiteLVLMEngine(
        model=ModelConfig(
            model=str(DATA / "glamm-tiny"), clip=str(DATA / "clip-tiny"), num_retain_tokens=7, rule=rule, device="cpu"
        )
    )
    phrases = ["the red circle", "a very small dog on the left"]
    images = [engine.preprocessor().prepare(image(seed, (40 + 9 * seed, 60))) for seed in range(3)]
    truth = engine.annotate(tiny.annotator, images, [phrases] * 3)
    worker = Worker(tiny, EmbeddingCache(1 << 24))
    batches = [range(3), [0], [2, 1], [1, 1, 0, 2], range(3)]
    for batch in batches:
        asked = [
            question(
                np.zeros((1, 1, 3), np.uint8),
                *phrases,
                key=str(at),
                prepared=images[at],
                num_retain_tokens=7,
                rule=rule,
            )
            for at in batch
        ]
        for at, answer in zip(batch, worker.answer(asked), strict=True):
            assert isinstance(answer, Reply)
            for found, mask in zip(answer.phrases, truth[at].iter_masks(), strict=True):
                assert found.mask is not None
                here = decode_mask(found.mask)
                union = (here | mask).sum()
                assert union == 0 or (here & mask).sum() / union >= 0.999
    again, other = (
        worker.answer([question(image(0), *phrases, key="0", prepared=images[0], rule=rule)])[0] for _ in "ab"
    )
    assert isinstance(again, Reply)
    assert isinstance(other, Reply)
    assert again.cached_image
    pairs = itertools.zip_longest(again.phrases, other.phrases)
    assert all(mask_iou(one.mask, two.mask) >= 0.999 for one, two in pairs)


@pytest.mark.slow
def test_an_encoded_image_does_not_keep_its_batch_in_memory(tiny: AskedModel) -> None:
    images = [tiny.engine.preprocessor().prepare(image(seed)) for seed in range(3)]
    for one in tiny.encode(images):
        held = one.embedding.untyped_storage().nbytes()
        assert held == one.embedding.element_size() * one.embedding.nelement()
        assert tiny.num_bytes(one) > held
