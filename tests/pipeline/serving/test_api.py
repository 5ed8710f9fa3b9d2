"""Requests from JSON; `test_app.py` holds what is refused."""

from __future__ import annotations

import json

import pytest

from litelvlm.pipeline.serving.api import parse_request
from litelvlm.pipeline.serving.errors import Refusal


def test_a_request_and_its_defaults() -> None:
    body = json.dumps({"image": {"uri": "a.jpg"}, "phrases": ["x"], "num_retain_tokens": "all"}).encode()
    request = parse_request(body, 1)
    assert (request.image.uri, request.phrases, request.num_retain_tokens) == ("a.jpg", ["x"], "all")
    assert (request.rule, request.format, request.retained) == (None, "rle", False)


def test_bytes_beyond_the_limit_are_not_decoded() -> None:
    request = parse_request(b'{"image": {"bytes": "AAAAAAAA"}, "phrases": ["x"]}', 1)
    assert request.image.decoded(6) == b"\0" * 6
    with pytest.raises(Refusal) as caught:
        request.image.decoded(3)
    assert caught.value.status == 413
