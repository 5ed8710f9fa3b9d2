"""The OpenAPI document says what is taken and what is not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from litelvlm.pipeline.serving.api import AnnotateRequest, parse_request
from litelvlm.pipeline.serving.errors import Refusal
from tests.pipeline.serving.doubles import service

GOOD: dict[str, Any] = {"image": {"bytes": "ZGF0YQ=="}, "phrases": ["a dog"]}


@pytest.mark.parametrize(
    ("changed", "good"),
    [
        ({}, True),
        ({"image": {"uri": "a.png", "bytes": None}, "rule": None, "num_retain_tokens": "all"}, True),
        ({"rule": "paper", "num_retain_tokens": 8, "format": "png"}, True),
        ({"image": {}}, False),
        ({"image": {"uri": "a.png", "bytes": "ZGF0YQ=="}}, False),
        ({"image": {"uri": None, "bytes": None}}, False),
        ({"phrases": []}, False),
        ({"rule": "papers"}, False),
        ({"num_retain_tokens": "some"}, False),
        ({"more": 1}, False),
    ],
)
def test_it_agrees_with_the_parser_on_requests(changed: dict[str, Any], good: bool) -> None:
    body = GOOD | changed
    assert jsonschema.Draft202012Validator(AnnotateRequest.model_json_schema()).is_valid(body) is good
    if good:
        parse_request(json.dumps(body).encode(), 10)
        return
    with pytest.raises(Refusal):
        parse_request(json.dumps(body).encode(), 10)


def test_it_describes_the_bodies_of_label_studio() -> None:
    paths = asyncio.run(service().client.get("/openapi.json")).json()["paths"]
    for path, good, bad in (
        ("/setup", {"project": "1.2", "schema": "<View/>", "extra_params": None}, {"schema": 3}),
        ("/predict", {"tasks": [{"data": {}}], "label_config": "", "params": {"context": None}}, {"tasks": [3]}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "task": {}, "annotation": [{}]}, 3),
    ):
        told = paths[path]["post"]
        schema = jsonschema.Draft202012Validator(told["requestBody"]["content"]["application/json"]["schema"])
        assert (schema.is_valid(good), schema.is_valid(bad)) == (True, False)
        assert {"200", "400", "422", "503"} <= set(told["responses"])
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
