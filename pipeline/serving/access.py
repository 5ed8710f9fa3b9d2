"""Who may ask: a token in front of everything that does work, and no requests that a page from elsewhere has sent."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from litelvlm.pipeline.serving.config import TOKEN_VARIABLE, ServeConfig
from litelvlm.pipeline.serving.errors import Refusal

MIN_TOKEN_CHARS = 16
#: What needs no token: probes, which say nothing but whether the service is up, and pages, which hold no data.
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/openapi.json", "/docs", "/example.jpg"})
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def read_token(config: ServeConfig) -> str | None:
    """The token that clients have to show, of a file or of the environment; None where none is set.

    Raises:
        ValueError: it is too short, the file cannot be read, or there is none though others than this machine can ask
            who need no certificate.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if config.token_file is not None:
        try:
            token = Path(config.token_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--token-file {config.token_file}: cannot be read ({type(error).__name__})") from None
    token = token.strip() if token else None
    if token is None and not config.is_loopback and config.tls_client_ca is None:
        raise ValueError(
            f"--host {config.host}: others than this machine can ask there, so a token is needed: --token-file, or "
            f"{TOKEN_VARIABLE} in the environment; or clients show certificates: --tls-client-ca"
        )
    if token is not None and (len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable()):
        raise ValueError(f"the token has to be {MIN_TOKEN_CHARS} printable ASCII characters at least")
    return token


class Gate:
    """Refuses what may not ask.

    Args:
        token: that has to be shown as `Authorization: Bearer TOKEN`, or as the password of `Basic`; None asks none.
        any_host: whether the service may go by any name without a token. A page from elsewhere whose name is made to
            point at this machine could ask, then.
    """

    def __init__(self, token: str | None, *, any_host: bool) -> None:
        self._token, self._any_host = token, any_host

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Raises Refusal unless the request may be answered. `headers` have names in lower case."""
        host = headers.get("host", "")
        if self._token is None and not self._any_host and _name(f"//{host}") not in _LOOPBACK_NAMES:
            raise Refusal(403, "bad_host", "without a token, this service answers to localhost alone")
        origin = headers.get("origin")
        if origin is not None and urlsplit_netloc(origin) != host:
            raise Refusal(403, "bad_origin", "pages of other origins may not ask")
        if self._token is not None and path not in OPEN_PATHS and not self._is_shown(headers.get("authorization", "")):
            raise Refusal(401, "unauthorized", "show the token: Authorization: Bearer TOKEN")

    def _is_shown(self, authorization: str) -> bool:
        scheme, _, value = authorization.partition(" ")
        shown = value.strip()
        if scheme.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(shown.encode(), str(self._token).encode())


def urlsplit_netloc(origin: str) -> str:
    """Host and port of an origin; empty where it is none, such as `null`."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
