"""Which model a configuration is of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litelvlm.models.glamm import GLAMM
from litelvlm.models.lisa import LISA
from litelvlm.models.registry import MODELS, converted_as, described_as, register


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_model_is_found_by_what_its_configurations_say(model: Any) -> None:
    for architecture in model.architectures:
        assert described_as({"architectures": [architecture], "model_type": "llava"}, GLAMM) is model
    for kind in model.model_types:
        assert described_as({"model_type": kind}, GLAMM) is model
    assert converted_as({"format": model.converted_format}) is model


def test_a_configuration_that_says_nothing_is_the_default() -> None:
    assert described_as({}, GLAMM) is GLAMM
    assert described_as({"architectures": None, "model_type": "llava"}, LISA) is LISA
    assert described_as({"model_type": ["llava"]}, LISA) is LISA
    assert converted_as({}) is None
    assert converted_as({"format": "litelvlm-glamm-2"}) is None


def test_a_model_of_another_family_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^model: its config\.json says ") as caught:
        described_as({"architectures": ["LlavaLlamaForCausalLM\n"], "model_type": "lisa"}, GLAMM)
    assert "'LlavaLlamaForCausalLM\\n'; known are GLaMM (GLaMMForCausalLM), " in str(caught.value)
    assert "LISA (LISAForCausalLM)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architectures", ["GLaMMForCausalLM", [7], {"a": 1}, 3])
def test_malformed_architectures_are_refused(architectures: Any) -> None:
    with pytest.raises(ValueError, match=r"^config\.json: architectures must be a list of names$"):
        described_as({"architectures": architectures}, GLAMM)


def test_no_two_models_share_what_tells_them_apart() -> None:
    for same in ({"name": "glamm"}, {"converted_format": GLAMM.converted_format}):
        other = replace(LISA, **({"name": "new", "converted_format": "new-1", "architectures": ("New",)} | same))
        with pytest.raises(ValueError, match="is that of glamm"):
            register(other)
    with pytest.raises(ValueError, match="one of its architectures is that of lisa"):
        register(replace(LISA, name="new", converted_format="new-1"))
    assert "new" not in MODELS
