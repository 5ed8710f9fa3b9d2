"""The shipped checkpoint as an evaluation uses it: images encoded once, each phrase in its own words."""

from typing import Any

import numpy as np
import pytest

from litelvlm import AnnotationRequest, PromptTemplate, PruningConfig
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.evaluation.engine import LiteLVLMEvaluation
from litelvlm.evaluation.protocol import Protocol
from litelvlm.pipeline.config import ModelConfig


@pytest.fixture(scope="module")
def engine() -> Any:
    return LiteLVLMEvaluation(model=ModelConfig())


@pytest.fixture(scope="module")
def annotator(engine: Any) -> Any:
    return engine.annotator(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["every", "release"])
def test_answers_to_encoded_images_are_those_to_the_images(engine: Any, annotator: Any, name: str) -> None:
    protocol = Protocol(name=name, seed=3)
    scenes = [draw_scene(HELD_OUT_SEED + number) for number in range(3)]
    prepared = [engine.preprocessor().prepare(scene.image) for scene in scenes]
    encoded = engine.encode(annotator, prepared)
    spent = dict(annotator.stage_seconds)
    rounds = [protocol.rounds(len(scene.phrases), str(scene.seed)) for scene in scenes]
    asked = [([scene.phrases[one.index] for one in own], own) for scene, own in zip(scenes, rounds, strict=True)]
    for pruning in (PruningConfig(rule="paper", num_retain_tokens=48), PruningConfig(rule="none")):
        answers = engine.answer(annotator, encoded, asked, pruning, protocol.layout)
        after = dict(annotator.stage_seconds)
        assert (after["clip"], after["sam"]) == (spent["clip"], spent["sam"])  # no encoder ran
        for image, (phrases, own), answer in zip(prepared, asked, answers, strict=True):
            templates = [PromptTemplate(question=one.question, answer=one.answer) for one in own]
            request = AnnotationRequest(image=image, phrases=phrases, templates=templates)
            [direct] = annotator.annotate([request], pruning=pruning, layout=protocol.layout)
            np.testing.assert_allclose(answer.scores, direct.scores, atol=1e-4)
            for one, other in zip(answer.iter_masks(), direct.iter_masks(), strict=True):
                assert (one & other).sum() >= 0.999 * (one | other).sum()
        spent = dict(annotator.stage_seconds)


def test_what_the_checkpoint_says_of_itself(engine: Any) -> None:
    assert engine.check() == []
    assert engine.num_visual_tokens() == engine.sizes().num_visual_tokens == 144
    assert engine.on_device("cpu") == engine
