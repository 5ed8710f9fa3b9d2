"""Images that stand in a string column themselves, as base64 or as a `data:` URI, and are no addresses."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from litelvlm.pipeline.images.sniff import sniff_format

_DATA_URI = re.compile(r"data:(?P<kind>[^,;]*)(?P<parameters>(;[^,;]*)*),", re.IGNORECASE)
_HEAD_CHARS = 64  # of base64, enough to tell a format by
_HEAD = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LONGEST_URI = 8192
_SHORTEST_IMAGE = 80  # characters of base64: no picture is smaller
_NO_IMAGES = ("not_an_image", "html", "xml", "json", "svg", "lfs_pointer")
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class NotInline:
    """Why a text that claims to be an image is none."""

    reason: str


def inline_image(text: str) -> bytes | NotInline | None:
    """The image that a text is, why it is none although it says so, or None for an address.

    A text without `data:` is taken for base64 where its first characters are those of an image, or where it is longer
    than any address.
    """
    text = text.strip()
    if text[:5].lower() == "data:":
        return _data_uri(text)
    head = "".join(text[: 2 * _HEAD_CHARS].split())[:_HEAD_CHARS]
    if len(text) < _SHORTEST_IMAGE or not _HEAD.fullmatch(head):
        return None
    is_image = sniff_format(_decoded_head(head))[0] not in _NO_IMAGES
    if not is_image and len(text) <= _LONGEST_URI:
        return None
    return _decoded(text, "base64 text")


def _data_uri(text: str) -> bytes | NotInline:
    match = _DATA_URI.match(text[:1024])
    if match is None:
        return NotInline("a data: URI without a comma after its kind")
    content = text[match.end() :]
    if ";base64" in match["parameters"].lower():
        return _decoded(unquote_to_bytes(content).decode("latin-1") if "%" in content else content, "data: URI")
    return unquote_to_bytes(content)


def _decoded(text: str, what: str) -> bytes | NotInline:
    try:
        plain = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        return NotInline(f"{what} that is not base64 to its end: {str(error)[:100]}")


def _decoded_head(head: str) -> bytes:
    plain = head.translate(_URL_SAFE).rstrip("=")
    return base64.b64decode(plain[: len(plain) // 4 * 4])
