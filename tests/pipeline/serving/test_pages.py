"""Pages: their policies name what is in them and nothing else, and the API's page names every route and body."""

from __future__ import annotations

import base64
import hashlib
import io

import numpy as np
import pytest
import tinyhtml5
from PIL import Image

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.pipeline.serving.pages import EXAMPLE_PHRASES, api_page, example, page, policy, type_in_words

DOCUMENT = {
    "info": {"title": "T<b>", "version": "1"},
    "paths": {"/a": {"post": {"summary": "<i>Does</i>", "responses": {"200": {"description": "Fine"}}}}},
    "components": {"schemas": {"Body": {"description": "What & why", "properties": {"f": {"type": "string"}}}}},
}


def test_a_policy_names_the_scripts_of_its_page_by_their_hashes() -> None:
    found = policy("<style>b{}</style><script>1</script>")
    for text in ("1", "b{}"):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in found
    assert policy("<p>") == (
        "default-src 'none'; script-src 'none'; style-src 'none'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def test_the_page_has_one_script_and_no_handlers_or_styles_in_its_elements() -> None:
    assert "unsafe" not in policy(page())
    assert page().count("<script>") == page().count("<style>") == 1
    tree = tinyhtml5.parse(page(), namespace_html_elements=False)
    for element in tree.iter():
        assert not any(name == "style" or name.startswith("on") for name in element.attrib)
        for name in ("src", "href"):
            assert element.get(name, "").partition(":")[0] in ("", "data", "docs")


def test_the_api_page_has_all_of_the_document_escaped() -> None:
    found = api_page(DOCUMENT)
    assert "POST /a" in found
    assert "&lt;i&gt;Does&lt;/i&gt;" in found
    assert "What &amp; why" in found
    assert "<b>" not in found


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"$ref": "#/components/schemas/Mask"}, "Mask"),
        ({"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]}, "list of number or null"),
        ({"enum": ["rle", "png"], "type": "string"}, '"rle" or "png"'),
        ({"const": "all", "type": "string"}, '"all"'),
        ({"enum": ["paper", None]}, '"paper" or null'),
        ({}, "anything"),
    ],
)
def test_types_are_told_in_words(schema: dict[str, object], words: str) -> None:
    assert type_in_words(schema) == words


def test_the_example_is_one_that_the_demo_s_model_finds(demo_annotator: Annotator) -> None:
    rgb = Image.open(io.BytesIO(example())).convert("RGB")
    request = AnnotationRequest(image=np.asarray(rgb), phrases=list(EXAMPLE_PHRASES))
    result = demo_annotator.annotate([request], pruning=PruningConfig(num_retain_tokens=48, rule="paper"))[0]
    assert min(result.scores) > 0.7
