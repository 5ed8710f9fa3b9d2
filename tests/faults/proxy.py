"""A proxy before the S3 server that breaks what passes through it, as real networks and stores do.

`with fault_proxy(store, rules) as proxy:` and `proxy.store` is the store to use.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.faults.fault_rules import ANSWERS, Fault, Request, Rule
from tests.object_store import ObjectStore

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class FaultProxy:
    """The running proxy: `store` to go through it, `injected` counts what it did, `requests` counts what it saw."""

    def __init__(self, upstream: ObjectStore, rules: Sequence[Rule], *, seed: int, listing_lag_s: float) -> None:
        self.rules = list(rules)
        self.injected: Counter[Fault] = Counter()
        self.requests: Counter[str] = Counter()
        self.closing = threading.Event()
        self.listing_lag_s = listing_lag_s
        self.upstream = urlsplit(upstream.endpoint_url).netloc
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._born: dict[str, float] = {}
        self.server = _Server(self)
        self.store = replace(upstream, endpoint_url=f"http://127.0.0.1:{self.server.server_address[1]}")

    @property
    def num_injected(self) -> int:
        return self.injected.total()

    def choose(self, request: Request) -> Fault | None:
        """The fault of a request: that of the first rule that applies."""
        with self._lock:
            self.requests[f"{request.method} {request.path}"] += 1
            for rule in self.rules:
                if rule.applies(request, self._rng):
                    if rule.fault is not Fault.STALE_LISTING:
                        self.injected[rule.fault] += 1
                    return rule.fault
        return None

    def note_put(self, request: Request) -> None:
        """Remember since when an object is there."""
        with self._lock:
            if request.method in ("PUT", "POST"):
                self._born.setdefault(request.path, time.monotonic())

    def without_new(self, request: Request, body: bytes) -> bytes:
        """A listing without the objects that are younger than the lag."""
        ElementTree.register_namespace("", _NAMESPACE)
        root = ElementTree.fromstring(body)
        bucket, now, hidden = request.path.strip("/"), time.monotonic(), 0
        for entry in root.findall(f"{{{_NAMESPACE}}}Contents"):
            key = entry.findtext(f"{{{_NAMESPACE}}}Key") or ""
            if now - self._born.get(f"{bucket}/{key}", -1e9) < self.listing_lag_s:
                root.remove(entry)
                hidden += 1
        count = root.find(f"{{{_NAMESPACE}}}KeyCount")
        if count is not None:
            count.text = str(int(count.text or 0) - hidden)
        with self._lock:
            self.injected[Fault.STALE_LISTING] += bool(hidden)
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


@contextlib.contextmanager
def fault_proxy(
    store: ObjectStore, rules: Sequence[Rule] = (), *, seed: int = 0, listing_lag_s: float = 3600.0
) -> Iterator[FaultProxy]:
    """Run a proxy before a store. Rules may be changed while it runs (`proxy.rules`)."""
    proxy = FaultProxy(store, rules, seed=seed, listing_lag_s=listing_lag_s)
    thread = threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up here all the time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        proxy = self.server.proxy
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(headers.get("content-length", 0))
        request = Request(method=self.command, target=self.path, headers=headers, body=b"")
        fault = proxy.choose(request)
        if fault in (Fault.RESET, Fault.STALL) and length > 0:
            self.rfile.read(length // 2)
            self._break(fault)
            return
        request = replace(request, body=self._read_body(headers, length))
        if fault is Fault.DROP:
            self._hang_up()
        elif fault in ANSWERS:
            status, refusal_headers, body = proxy.store.refusal(*ANSWERS[fault])
            body = b"" if request.method == "HEAD" else body
            self._answer(status, list(refusal_headers.items()), body, str(len(body)), None)
        else:
            self._forward(request, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _read_body(self, headers: dict[str, str], length: int) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(length)
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, request: Request, fault: Fault | None) -> None:
        proxy = self.server.proxy
        left_out = _HOP_BY_HOP | ({"if-none-match"} if fault is Fault.IGNORED_CONDITION else set())
        headers = {name: value for name, value in request.headers.items() if name not in left_out}
        connection = http.client.HTTPConnection(proxy.upstream, timeout=60)
        try:
            connection.request(request.method, request.target, body=request.body or None, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 200:
            proxy.note_put(request)
        if fault is Fault.LOST_ANSWER:
            self._hang_up()
            return
        if fault is Fault.STALE_LISTING:
            body = proxy.without_new(request, body)
        length = answer.getheader("content-length", "0") if request.method == "HEAD" else str(len(body))
        self._answer(answer.status, answer.getheaders(), body, length, fault)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, length: str, fault: Fault | None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        if fault in (Fault.RESET, Fault.STALL):
            if body:
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
            else:
                self.flush_headers()  # in the middle of the head then
            self._break(fault)
            return
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _break(self, fault: Fault) -> None:
        if fault is Fault.STALL:
            self.server.proxy.closing.wait(60)
        self._hang_up(reset=fault is Fault.RESET)

    def _hang_up(self, *, reset: bool = False) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
