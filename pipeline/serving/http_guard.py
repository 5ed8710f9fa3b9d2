"""Around every request: who may ask, errors in one form, a line in the log, metrics."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from litelvlm.pipeline.serving.access import Gate
from litelvlm.pipeline.serving.errors import Refusal
from litelvlm.pipeline.serving.metrics import ServiceMeters

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOG = logging.getLogger("litelvlm.serve")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class HttpGuard:
    """An ASGI application around another one.

    Args:
        app: the inner one.
        gate: who may ask.
        meters: of requests.
        routes: paths that metrics may be labelled with; all others are `other`.
    """

    def __init__(self, app: App, gate: Gate, meters: ServiceMeters, routes: frozenset[str]) -> None:
        self._app, self._gate, self._meters, self._routes = app, gate, meters, routes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        scope.setdefault("state", {})["exchange"] = exchange
        try:
            self._gate.check(scope["path"], exchange.headers)
            await self._app(scope, receive, exchange.send)
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except Exception as error:  # noqa: BLE001 - the boundary of a request; its text may quote what was asked
            LOG.error(json.dumps({"event": "crash", "request": exchange.id, "error": type(error).__name__}))
            await exchange.refuse(Refusal(500, "internal", f"an error of the service; request {exchange.id}"))
        finally:
            self._tell(scope, exchange)

    def _tell(self, scope: MutableMapping[str, Any], exchange: _Exchange) -> None:
        route = scope["path"] if scope["path"] in self._routes else "other"
        seconds = time.perf_counter() - exchange.started
        code = exchange.facts.get("code", "")
        self._meters.requests.labels(route=route, status=str(exchange.status), code=code).inc()
        self._meters.seconds.labels(route=route).observe(seconds)
        line = {
            "event": "request",
            "request": exchange.id,
            "method": scope["method"],
            "route": route,
            "status": exchange.status,
            "seconds": round(seconds, 4),
            **exchange.facts,
        }
        LOG.info(json.dumps(line))


class _Exchange:
    """A request and what became of it."""

    def __init__(self, scope: MutableMapping[str, Any], send: Send) -> None:
        self.id = uuid.uuid4().hex[:16]
        self.started = time.perf_counter()
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.status = 499  # until an answer begins: the client is gone
        self.facts: dict[str, Any] = {}
        self._send = send

    async def send(self, message: Message) -> None:
        """Hand on a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(pair for pair in _HEADERS if pair[0] not in own),
                (b"x-request-id", self.id.encode()),
            ]
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status != 499:
            return
        self.facts["code"] = refusal.code
        body = json.dumps(refusal.body()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers()}
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": body})
