"""Keeps secrets out of records, logs and summaries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MAX_CHARS = 500
_URL_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#'\"<>]*)[?#][^\s'\"<>]*", re.IGNORECASE)
_URL_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"<>]+@", re.IGNORECASE)
_HARMLESS = {"true", "false", "none", "null", "path", "auto", "virtual", "v4", "s3v4"}


class Redactor:
    """Cuts a message to one printable line without URL queries, URL credentials or the values of storage options."""

    def __init__(self, storage_options: dict[str, Any]) -> None:
        self._secrets = sorted(set(_secrets(storage_options)), key=len, reverse=True)

    def __call__(self, message: str) -> str:
        text = " ".join("".join(char if char.isprintable() else " " for char in message).split())
        text = self.text(text)
        return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"

    def text(self, text: str) -> str:
        """The same for a text of several lines, which keeps its lines and length."""
        for secret in self._secrets:
            text = text.replace(secret, "<redacted>")
        return _URL_USER.sub(r"\1<redacted>@", _URL_QUERY.sub(r"\1?<redacted>", text))


def _secrets(options: dict[str, Any]) -> Iterable[str]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _secrets(value)
        elif isinstance(value, str) and len(value) >= 4 and value.lower() not in _HARMLESS and "endpoint" not in key:
            yield value
