"""A description that cannot be is refused when it is written down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litelvlm.config import PromptTemplate
from litelvlm.models.glamm import GLAMM
from litelvlm.models.registry import MODELS


@pytest.mark.parametrize(
    ("field", "value"),
    [("projector", "mlp3x_gelu"), ("clip", "openai/clip-vit-base-patch16"), ("read_offset", -1), ("positions", "auto")],
)
def test_impossible_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^glamm\.{field}: "):
        replace(GLAMM, **{field: value})


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_asks_with_a_template_that_is_one(name: str) -> None:
    model = MODELS[name]
    PromptTemplate(question=model.question, answer=model.answer)
    assert {"[SEG]", "<im_start>", "<im_end>"} <= set(model.added_tokens)
