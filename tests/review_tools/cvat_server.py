"""The part of CVAT's HTTP API that its own command line needs to annotate a task and to run an agent."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CVAT_TOKEN = "a token of CVAT's"
TASK, FUNCTION = 1, 5
_TIME = "2026-11-01T00:00:00Z"
_JSON = "application/vnd.cvat+json"


@dataclass
class CvatServer:
    """A task with images, and a queue of requests to a function.

    Attributes:
        images: encoded, by their names.
        labels: of the task.
        shapes: that were created in the task, as they came.
        function: that was created, None before.
        queue: requests to it that nobody has taken yet.
        completed: results of these by their ids.
        failed: errors of these.
    """

    images: dict[str, bytes]
    labels: tuple[str, ...]
    url: str = ""
    shapes: list[dict[str, Any]] = field(default_factory=list)
    function: dict[str, Any] | None = None
    queue: list[dict[str, Any]] = field(default_factory=list)
    completed: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, Any] = field(default_factory=dict)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> Any:
        """JSON, or bytes."""
        links = {"url": f"{self.url}/api/x"}
        if path == "/api/server/about":
            return {"name": "CVAT", "description": "", "version": "2.80.0", "logo_url": "", "subtitle": ""}
        if path == f"/api/tasks/{TASK}":
            jobs = links | {"count": 1, "completed": 0, "validation": 0}
            told = {"id": TASK, "name": "drawn", "jobs": jobs, "labels": links, "size": len(self.images)}
            told |= {"data_chunk_size": 72, "data_original_chunk_type": "imageset"}
            return told | {"updated_date": _TIME, "organization": None}
        if path == "/api/labels":
            named = enumerate(self.labels, start=11)
            plain = {"type": "any", "attributes": [], "sublabels": [], "has_parent": False}
            found = [{"id": number, "name": name} | plain for number, name in named]
            return {"count": len(found), "next": None, "previous": None, "results": found}
        if path == f"/api/tasks/{TASK}/data/meta":
            frames = [{"name": name, "related_files": 0, "width": 1, "height": 1} for name in self.images]
            return {"chunks_updated_date": _TIME, "frames": frames, "deleted_frames": []}
        if path == f"/api/tasks/{TASK}/data":
            data = list(self.images.values())
            return data[int(query["number"][0])] if query["type"] == ["frame"] else _chunk(data)
        if (method, path) == ("PATCH", f"/api/tasks/{TASK}/annotations"):
            self.shapes += body["shapes"]
            return {"version": 1, "tags": [], "shapes": [], "tracks": []}
        return self._of_function(path, body)

    def _of_function(self, path: str, body: dict[str, Any]) -> Any:
        queue = f"/api/functions/queues/function:{FUNCTION}/requests"
        if path == "/api/functions":
            labels = [{"type": "any", **one} for one in body["labels_v2"]]
            self.function = body | {"id": FUNCTION, "labels_v2": labels}
            return self.function
        if path == f"/api/functions/{FUNCTION}":
            return self.function
        if path == f"{queue}/acquire":
            return {"ar_assignment": self.queue.pop(0) if self.queue else None}
        request, _, what = path.removeprefix(f"{queue}/").partition("/")
        if path.startswith(queue) and what in ("complete", "fail", "update"):
            {"complete": self.completed, "fail": self.failed, "update": {}}[what][request] = body
            return {}
        return None


@contextlib.contextmanager
def cvat_server(images: dict[str, bytes], labels: tuple[str, ...]) -> Iterator[CvatServer]:
    """It, on this machine, until the block ends. Whoever shows another token is refused."""
    made = CvatServer(images, labels)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if self.headers.get("authorization") != f"Bearer {CVAT_TOKEN}":
                self._send(401, {"detail": "who are you?"})
                return
            url = urlsplit(self.path)
            told = made.answer(self.command, unquote(url.path).rstrip("/"), parse_qs(url.query), body)
            self._send(404 if told is None else 200, told)

        do_POST = do_PATCH = do_GET

        def _send(self, status: int, told: Any) -> None:
            data = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/zip" if isinstance(told, bytes) else _JSON)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()


def _chunk(images: list[bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, data in enumerate(images):
            archive.writestr(f"{number:06}.png", data)
    return stream.getvalue()
