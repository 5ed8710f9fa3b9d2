"""Which answers of an image stand: thresholds, negative prompts, one object of a class once."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm.pipeline.masks import EncodedMask, encode_mask
from litelvlm.pipeline.ontology import Ontology, parse_ontology
from litelvlm.pipeline.shards.payload import Answer, Draft
from litelvlm.pipeline.stages.suppress import suppress


@pytest.fixture
def ontology() -> Ontology:
    dog = {"name": "dog", "prompts": ["a dog", "puppy"], "negative_prompts": ["toy dog"], "score_threshold": 0.3}
    return parse_ontology([dog, "light", {"name": "toy", "prompts": ["toy dog", "doll"], "negative_prompts": "shadow"}])


def box(left: int, top: int, right: int, bottom: int) -> EncodedMask:
    mask = np.zeros((20, 30), bool)
    mask[top:bottom, left:right] = True
    return encode_mask(mask)


def fates(ontology: Ontology, *given: tuple[str, EncodedMask, float]) -> list[str | None]:
    """What becomes of phrases that got these masks and scores."""
    drafts = [
        Draft(
            source_row=0,
            phrase_index=number,
            phrase=phrase,
            asks=ontology.find(phrase),
            answer=Answer(mask=mask, score=score, num_visual_tokens=9, num_retained_tokens=3),
        )
        for number, (phrase, mask, score) in enumerate(given)
    ]
    suppress(drafts, 0.8)
    return [draft.dropped for draft in drafts]


def test_of_masks_of_one_object_the_best_stands(ontology: Ontology) -> None:
    assert fates(
        ontology,
        ("a dog", box(0, 0, 10, 10), 0.8),
        ("puppy", box(0, 0, 10, 9), 0.9),
        ("puppy", box(15, 0, 25, 10), 0.5),
        ("light", box(0, 0, 10, 10), 0.7),
        ("a dog", box(0, 10, 10, 20), 0.2),
    ) == [
        "duplicate: of what 'puppy' found, IoU 0.90",
        None,
        None,
        None,
        "score: 0.200 is below 0.3",
    ]
    assert fates(ontology) == []


@pytest.mark.parametrize(("bottom", "stands"), [(8, False), (7, True)])
def test_masks_are_one_object_from_the_iou_of_the_ontology_on(ontology: Ontology, bottom: int, stands: bool) -> None:
    found = fates(ontology, ("a dog", box(0, 0, 10, 10), 0.9), ("puppy", box(0, 0, 10, bottom), 0.5))
    assert [fate is None for fate in found] == [True, stands]


def test_of_equals_the_earlier_one_stands(ontology: Ontology) -> None:
    found = fates(ontology, *((phrase, box(0, 0, 10, 10), 0.8) for phrase in ("a dog", "puppy", "a dog")))
    assert [fate is None for fate in found] == [True, False, False]


def test_what_was_dropped_drops_nothing(ontology: Ontology) -> None:
    """A mask that is covered does not take the good one below it along."""
    found = fates(
        ontology,
        ("a dog", box(0, 0, 10, 10), 0.9),
        ("puppy", box(0, 0, 12, 10), 0.8),
        ("toy dog", box(0, 0, 6, 10), 0.9),
    )
    assert found == ["covered: what 'toy dog' found covers 60% of it", None, None]


def test_a_prompt_of_one_class_may_be_what_another_is_not(ontology: Ontology) -> None:
    found = fates(
        ontology,
        ("a dog", box(15, 0, 25, 10), 0.8),
        ("toy dog", box(15, 0, 20, 10), 0.4),
        ("shadow", box(15, 0, 20, 10), 0.1),
        ("light", box(15, 0, 20, 10), 0.9),
    )
    assert found == [
        None,  # half is not more than half
        "covered: what 'shadow' found covers 100% of it",
        "negative: asked for what toy is not",
        None,
    ]


def test_a_negative_prompt_below_the_threshold_of_its_class_covers_nothing() -> None:
    cat = parse_ontology([{"name": "cat", "negative_prompts": ["statue"], "score_threshold": 0.5}])
    found = fates(cat, ("cat", box(0, 0, 9, 9), 0.9), ("statue", box(0, 0, 9, 9), 0.4))
    assert found == [None, "score: 0.400 is below 0.5"]


def test_empty_masks_failures_and_phrases_of_no_class_are_left_alone(ontology: Ontology) -> None:
    assert fates(ontology, ("a dog", box(0, 0, 0, 0), 0.1), ("zebra", box(0, 0, 9, 9), 0.1)) == [None, None]
    failed = Draft(source_row=0, phrase_index=0, phrase="a dog", asks=ontology.find("a dog"), error="e")
    suppress([failed], 0.8)
    assert failed.dropped is None
