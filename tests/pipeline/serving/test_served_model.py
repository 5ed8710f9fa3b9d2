"""The model of a replica; `test_worker.py` holds its masks against the job's."""

from __future__ import annotations

import pytest
import torch

from litelvlm import Annotator
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.serving.served_model import AskedModel, _asking, _tensors
from litelvlm.pipeline.stages.engine import LiteLVLMEngine


def test_budget_and_rule_replace_those_of_the_engine_and_nothing_else() -> None:
    engine = LiteLVLMEngine(model=ModelConfig(layout="shared", num_retain_tokens=9))
    asked = _asking(engine, None, "none")
    assert (asked.model.num_retain_tokens, asked.model.rule, asked.model.layout) == (None, "none", "shared")
    assert _asking(engine, 9, "release").model == engine.model


def test_what_is_kept_of_an_image_does_not_depend_on_others(demo_annotator: Annotator) -> None:
    engine = LiteLVLMEngine(model=ModelConfig(model="demo"))
    model = AskedModel(engine=engine, annotator=demo_annotator)
    scenes = [draw_scene(HELD_OUT_SEED + number).image for number in range(5)]
    images = [engine.preprocessor().prepare(one, one.shape[:2]) for one in scenes]
    for together, image in zip(model.encode(images), images, strict=True):
        (alone,) = model.encode([image])
        for one, other in zip(_tensors(together), _tensors(alone), strict=True):
            assert torch.equal(one, other)
        assert model.num_bytes(together) == model.num_bytes(alone) > image.sam_pixels.nbytes


@pytest.mark.slow
def test_what_is_kept_of_a_phrase_does_not_depend_on_others() -> None:
    engine = LiteLVLMEngine(model=ModelConfig(model="demo"))
    scene = draw_scene(HELD_OUT_SEED)
    image = engine.preprocessor().prepare(scene.image, scene.image.shape[:2])
    kept = []
    for groups in ([scene.phrases], [[phrase] for phrase in scene.phrases]):
        annotator = Annotator.from_pretrained("demo")
        model = AskedModel(engine=engine, annotator=annotator)
        encoded = model.encode([image])
        for phrases in groups:
            model.annotate(encoded, [phrases], num_retain_tokens=48, rule="paper")
        kept.append(annotator._runner._text_embeddings)
    assert len(kept[0]) == len(scene.phrases)
    for question, embedding in kept[0].items():
        assert torch.equal(embedding, kept[1][question])
