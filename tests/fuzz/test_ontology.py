"""Ontologies of anything: one comes of it, or a reason; and what comes of it finds its own prompts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.ontology import Ontology, parse_ontology

NAMES = st.text(max_size=8) | st.sampled_from(["a dog", "The Dog", "dog", "\ud800", "\u202e", ""])
SCALARS = NAMES | st.integers() | st.floats() | st.booleans() | st.none()
KEYS = st.sampled_from(["id", "name", "supercategory", "prompts", "negative_prompts", "score_threshold", "other"])
ENTRIES = SCALARS | st.dictionaries(KEYS, SCALARS | st.lists(NAMES, max_size=3), max_size=6)
FILES = st.fixed_dictionaries(
    {"categories": st.lists(ENTRIES, max_size=4)}, optional={"default": SCALARS, "same_object_iou": SCALARS}
)


@given(FILES | st.lists(ENTRIES, max_size=4) | SCALARS)
def test_anything_is_an_ontology_or_a_reason(values: Any) -> None:
    try:
        found = parse_ontology(values)
    except ValueError:
        return
    assert isinstance(found, Ontology)
    assert len({one.id for one in found.categories}) == len(found.categories)
    for asked in found.asked:
        assert found.find(asked.phrase) == asked
    for category in found.categories:
        named = found.find(category.name)
        assert named is not None
    assert found.describe()
