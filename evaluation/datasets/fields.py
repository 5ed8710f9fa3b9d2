"""Fields of entries that a file holds: checked for their kind, and told by name where they are not what they must be.

Whoever wrote the file chose what is in it, so nothing here walks into a value or writes all of it down: lists that
share their parts stand for more than memory holds.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from litelvlm.pipeline.images.decode import MAX_PIXELS

_SHOWN_CHARS = 60
_SHOWN_BITS = 64
_NAMES = {int: "a whole number", str: "text", bytes: "bytes", list: "a list", dict: "an object"}


def shown(value: Any) -> str:
    """What a value is, for an error: its beginning where it is text, in constant time whatever it is."""
    if isinstance(value, str | bytes):
        return ascii(value[:_SHOWN_CHARS]) + ("…" if len(value) > _SHOWN_CHARS else "")
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _SHOWN_BITS else f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, float):
        return "null" if value is None else str(value)
    return f"a {type(value).__name__}"


def field(entry: Any, name: str, kind: type) -> Any:
    """`entry[name]`. Raises ValueError naming the field where it is not of this kind, or text that is not Unicode."""
    value = _of_object(entry, name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name}: {shown(value)} instead of {_NAMES[kind]}")
    if isinstance(value, str) and not _is_unicode(value):
        raise ValueError(f"{name}: {shown(value)} is not valid Unicode")
    return value


def id_field(entry: Any, name: str) -> int | str:
    """An id: a whole number or text. Raises ValueError naming the field."""
    value = _of_object(entry, name)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(f"{name}: {shown(value)} instead of a number or text")
    return value


def size_field(entry: Any) -> tuple[int, int]:
    """`height` and `width` in pixels. Raises ValueError where they are no size that an image can have."""
    height, width = field(entry, "height", int), field(entry, "width", int)
    for name, side in (("height", height), ("width", width)):
        if side < 1:
            raise ValueError(f"{name}: {shown(side)} instead of 1 or more")
    if height * width > MAX_PIXELS:
        raise ValueError(f"height, width: {shown(height)}x{shown(width)}, the limit is {MAX_PIXELS} pixels")
    return height, width


def json_field(entry: Any, name: str) -> dict[str, Any]:
    """The object that a field holds as JSON text. Raises ValueError naming the field."""
    text = field(entry, name, str)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not JSON ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name}: {shown(value)} instead of a JSON object")
    return value


@contextlib.contextmanager
def within(place: str) -> Iterator[None]:
    """Put a place before every ValueError: what is read inside lies there."""
    try:
        yield
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{place}: {error}") from error


def _of_object(entry: Any, name: str) -> Any:
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)} instead of an object with {name}")
    return entry.get(name)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
