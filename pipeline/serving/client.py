"""A client of the service in one file, with Python's own library alone: copy it wherever it is needed.

client = Client("http://127.0.0.1:8123", token=None)
answer = client.annotate(Path("a.jpg").read_bytes(), ["the red circle"], num_retain_tokens=48)
answer.masks[0].score
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

_RETRIED = (429, 502, 503)
_LONGEST_PAUSE_S = 10.0


class ServiceError(Exception):
    """The service refuses. `status` is of HTTP, `code` is stable, `field` is what of the request is at fault."""

    def __init__(self, status: int, code: str, message: str, field: str | None) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.field = status, code, field


@dataclass(frozen=True, kw_only=True)
class Mask:
    """The answer to a phrase, as the API has it; masks are under the name of the format that was asked for."""

    phrase: str
    status: str
    score: float | None = None
    rle: dict[str, Any] | None = None
    polygon: list[list[float]] | None = None
    png: str | None = None
    bbox: list[float] | None = None
    area: int | None = None
    num_retained_tokens: int | None = None
    num_visual_tokens: int | None = None
    retained: list[int] | None = None
    source: str = "model"
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The answer to a request."""

    width: int
    height: int
    masks: list[Mask]
    cached_image: bool
    model_version: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class Client:
    """Asks one service.

    Attributes:
        url: of the service.
        token: that it asks for, if it does.
        timeout_s: for one try.
        retry_s: how long to insist where it is busy, restarting or cannot be reached; asking again changes nothing.
        tls: whom to trust, and the certificate to show, where the service asks for one; None trusts as Python does.
    """

    url: str
    _: KW_ONLY
    token: str | None = None
    timeout_s: float = 90.0
    retry_s: float = 60.0
    tls: ssl.SSLContext | None = None

    def annotate(
        self,
        image: bytes | str,
        phrases: list[str],
        *,
        num_retain_tokens: int | str | None = None,
        rule: str | None = None,
        format: str = "rle",
    ) -> Annotation:
        """Masks for phrases.

        Args:
            image: encoded bytes, or a URI that the service may read.
            phrases: each is answered by one mask.
            num_retain_tokens: visual tokens kept, "all", or None for the service's own budget.
            rule: the pruning rule; None is the service's own.
            format: rle, polygon or png.

        Raises:
            ServiceError: the request is refused, or the service stays busy.
            OSError: it cannot be reached.
        """
        source = {"uri": image} if isinstance(image, str) else {"bytes": base64.b64encode(image).decode("ascii")}
        body: dict[str, Any] = {"image": source, "phrases": phrases, "format": format}
        body |= {"num_retain_tokens": num_retain_tokens} if num_retain_tokens is not None else {}
        told = self._post("/v1/annotate", body | ({"rule": rule} if rule is not None else {}))
        known = {one.name for one in fields(Mask)}
        masks = [Mask(**{name: value for name, value in one.items() if name in known}) for one in told["masks"]]
        names = {one.name for one in fields(Annotation)}
        return Annotation(**{name: value for name, value in told.items() if name in names} | {"masks": masks})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        ends, pause = time.monotonic() + self.retry_s, 0.2
        while True:
            try:
                return self._try(path, body)
            except ServiceError as error:
                if error.status not in _RETRIED or time.monotonic() + pause > ends:
                    raise
            except (OSError, http.client.HTTPException) as error:
                distrusted = isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)
                if distrusted or time.monotonic() + pause > ends:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _try(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.url.rstrip("/") + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s, context=self.tls) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None


def _refusal(error: urllib.error.HTTPError) -> ServiceError:
    try:
        told = json.loads(error.read())["error"]
        return ServiceError(error.code, told["code"], told["message"], told["field"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(error.code, "http", error.reason or "an error", None)
