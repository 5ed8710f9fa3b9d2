"""Answers of servers that want to confuse the client."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from litelvlm.pipeline.fetch.http import TransientError, http_get
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy


class _Handler(http.server.BaseHTTPRequestHandler):
    location: ClassVar[str] = ""

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + self.location.encode("latin-1") + b"\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server that answers with `_Handler.location`."""
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{web.server_address[1]}"
    finally:
        web.shutdown()
        web.server_close()


@pytest.mark.parametrize(
    "location",
    [
        "http://[", "//[::1", "http://]/", "file:///etc/passwd", "//169.254.169.254/", "http:///etc", "\x80\xff", "%00",
        "/a%0d%0aX:%20y", "javascript:alert(1)", "data:,x", "http://127.0.0.1:1/", "http://127.0.0.1.:80/", "s3://b/k",
        "..", "/%2e%2e/", "http://u:secret@127.0.0.1/", "x" * 20_000,
    ],
)  # fmt: skip
def test_redirects_to_elsewhere_and_to_nonsense(server: str, location: Any) -> None:
    _Handler.location = location
    policy = UriPolicy(allowed_prefixes=(f"{server}/set1/",), timeout_s=5)
    with pytest.raises(FetchError) as caught:
        http_get(policy.resolve(f"{server}/set1/a.jpg"), policy)
    assert caught.value.code in ("refused", "bad_uri")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert "secret" not in str(caught.value)


def test_a_header_without_end_is_cut_off(server: str) -> None:
    _Handler.location = "x" * 200_000
    policy = UriPolicy(allowed_prefixes=(f"{server}/set1/",), timeout_s=5)
    with pytest.raises(TransientError):
        http_get(policy.resolve(f"{server}/set1/a.jpg"), policy)
