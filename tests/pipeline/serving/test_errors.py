"""The one form of every error."""

from __future__ import annotations

from litelvlm.pipeline.serving.errors import Refusal


def test_body_and_headers() -> None:
    refusal = Refusal(429, "busy", "later", "phrases.1", retry_after_s=1.2)
    assert refusal.body() == {"error": {"code": "busy", "message": "later", "field": "phrases.1"}}
    assert refusal.headers() == {"Retry-After": "2"}
    assert Refusal(429, "busy", "later", retry_after_s=0.0).headers() == {"Retry-After": "1"}
    assert Refusal(422, "invalid", "no").headers() == {}
