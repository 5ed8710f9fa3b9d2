"""Around a request; `test_app.py` holds errors, log and metrics."""

from __future__ import annotations

import asyncio
from typing import Any

from litelvlm.pipeline.serving.access import Gate
from litelvlm.pipeline.serving.http_guard import HttpGuard
from litelvlm.pipeline.serving.metrics import ServiceMeters


def test_what_is_no_request_is_handed_on() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    guard = HttpGuard(app, Gate(None, any_host=False), ServiceMeters(), frozenset())
    asyncio.run(guard({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]


def test_an_answer_that_has_begun_is_not_followed_by_an_error() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broke")

    async def send(message: Any) -> None:
        sent.append(message)

    guard = HttpGuard(app, Gate(None, any_host=True), ServiceMeters(), frozenset())
    scope = {"type": "http", "path": "/", "method": "GET", "headers": []}
    asyncio.run(guard(scope, None, send))
    assert [one["status"] for one in sent] == [200]
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
