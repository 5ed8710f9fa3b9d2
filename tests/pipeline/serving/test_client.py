"""The client against a server that refuses, breaks off and then answers."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.serving.client import Client, ServiceError
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.listener import Listener
from tests.pipeline.serving.certificates import Authority
from tests.pipeline.serving.doubles import free_port

GOOD = {
    "width": 3, "height": 2, "cached_image": True, "model_version": "v", "seconds": {}, "of_a_later_version": 1,
    "masks": [{"phrase": "x", "status": "ok", "score": 0.5, "of_a_later_version": 1}],
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[Any]:
    """Answers with what `answers` holds, in order."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.asked.append((self.headers.get("authorization"), json.loads(body)))
            status, told = made.answers.pop(0)
            if status == 0:
                self.connection.close()
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *args: Any) -> None:
            pass

    made: Any = HTTPServer(("127.0.0.1", 0), Handler)
    made.answers, made.asked = [], []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.slow
def test_it_insists_where_the_service_is_busy_or_gone(server: Any) -> None:
    busy = {"error": {"code": "busy", "message": "later", "field": None}}
    server.answers = [(429, busy), (0, None), (503, busy), (200, GOOD)]
    client = Client(url=f"http://127.0.0.1:{server.server_port}/", token="t")
    told = client.annotate(b"data", ["x"], num_retain_tokens=8, rule="paper")
    assert (told.width, told.masks[0].score) == (3, 0.5)
    assert len(server.asked) == 4
    authorization, body = server.asked[-1]
    assert authorization == "Bearer t"
    assert body == {
        "image": {"bytes": "ZGF0YQ=="}, "phrases": ["x"], "format": "rle", "num_retain_tokens": 8, "rule": "paper",
    }  # fmt: skip


@pytest.mark.slow
def test_a_refusal_is_an_error_at_once(server: Any) -> None:
    server.answers = [(422, {"error": {"code": "bad_phrase", "message": "empty", "field": "phrases.0"}}), (400, "?")]
    client = Client(url=f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(ServiceError) as caught:
        client.annotate("https://a/b.jpg", [" "])
    assert (caught.value.status, caught.value.code, caught.value.field) == (422, "bad_phrase", "phrases.0")
    with pytest.raises(ServiceError, match="http"):
        client.annotate("https://a/b.jpg", [" "])


def test_it_shows_its_certificate_and_gives_up_on_whom_it_does_not_trust(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    chain, key = ours.issue("server")
    config = ServeConfig(port=free_port(), tls_certificate=chain, tls_key=key, tls_client_ca=ours.path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(GOOD).encode()})

    async def run() -> int:
        listener = Listener(app, config)
        listener.start()
        url, mine = f"https://127.0.0.1:{config.port}", ours.issue("client")
        told = await asyncio.to_thread(Client(url, tls=ours.client(mine)).annotate, b"data", ["x"])
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(Client(url, tls=theirs.client(mine)).annotate, b"data", ["x"])
        await listener.close()
        return told.width

    assert asyncio.run(run()) == 3
