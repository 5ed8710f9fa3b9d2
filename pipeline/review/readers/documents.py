"""Values of documents that somebody else wrote: what they must be, or a ValueError of one line that says where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from litelvlm.pipeline.images.decode import MAX_PIXELS

_MAX_TEXT = 100_000  # characters of a name, a phrase or an attribute
_MAX_SHOWN = 80
_RECORD = re.compile(r"[0-9a-f]{16}-\d{1,9}", re.ASCII)
_SAID = {"accept", "accepted", "ok"}, {"reject", "rejected"}


def fault(place: str, what: str) -> ValueError:
    """The error of a document at a place, on one line."""
    return ValueError(" ".join(f"{place}: {what}".split())[:1000])


def shown(value: Any) -> str:
    """A value from outside, short and on one line, for messages."""
    text = value if isinstance(value, int | str) and not isinstance(value, bool) else type(value).__name__
    try:
        return " ".join(str(text)[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode().split())
    except ValueError:  # an integer of thousands of digits
        return "a number"


def read_json(data: bytes, place: str) -> Any:
    """What JSON text stands for, with no number that is not finite. Raises ValueError."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except RecursionError:
        raise fault(place, "is no JSON that can be read: it is nested too deep") from None
    except (ValueError, MemoryError) as error:
        raise fault(place, f"is no JSON that can be read: {str(error)[:200]}") from None


def read_xml(data: bytes, place: str) -> ElementTree.Element:
    """The root of XML without a document type, and so without entities of its own. Raises ValueError."""
    if b"\0" in data:
        raise fault(place, "is XML in another encoding than UTF-8")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise fault(place, "is XML with a DOCTYPE, which is not read")
    parser = ElementTree.XMLParser(encoding="utf-8")  # whatever it says of itself: the search above was of these bytes
    try:
        return ElementTree.fromstring(data, parser)
    except (ElementTree.ParseError, RecursionError, ValueError) as error:
        raise fault(place, f"is no XML that can be read: {str(error)[:200]}") from None


def an_object(value: Any, place: str, what: str = "an object") -> dict[str, Any]:
    """A JSON object. Raises ValueError."""
    if not isinstance(value, dict):
        raise fault(place, f"expected {what}, found {shown(value)}")
    return value


def objects(value: Any, place: str, what: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list; none where there is no list. Raises ValueError."""
    if value is None:
        return iter(())
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise fault(place, f"{what} is no list of objects")
    return iter(value)


def text(value: Any, place: str, what: str) -> str | None:
    """A text or the text of a whole number; None for what is empty or not there. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise fault(place, f"{what} is no text: {shown(value)}")
    try:
        found = str(value)
        found.encode("utf-8")
    except ValueError:
        raise fault(place, f"{what} is no text that can be written") from None
    if len(found) > _MAX_TEXT:
        raise fault(place, f"{what} has {len(found)} characters, the limit is {_MAX_TEXT}")
    return found


def loose_text(value: Any) -> str | None:
    """A text where there is one; None for anything else that a user may have put there."""
    return value[:_MAX_TEXT].encode("utf-8", "replace").decode() if isinstance(value, str) and value else None


def required_text(value: Any, place: str, what: str) -> str:
    """A text that must be there. Raises ValueError."""
    found = text(value, place, what)
    if found is None:
        raise fault(place, f"has no {what}")
    return found


def number(value: Any, place: str, what: str) -> float | None:
    """A finite number, or the text of one; None where there is none. Raises ValueError."""
    if value is None or value == "":
        return None
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise fault(place, f"{what} is no finite number: {shown(value)}")
    return found


def integer(value: Any, place: str, what: str) -> int:
    """A whole number below 2^53, or the text of one. Raises ValueError."""
    found = number(value, place, what)
    if found is None or found != int(found) or abs(found) >= 1 << 53:
        raise fault(place, f"{what} is no whole number: {shown(value)}")
    return int(found)


def size_hw(height: Any, width: Any, place: str) -> tuple[int, int]:
    """The height and width of an image in pixels. Raises ValueError where they are none, or too large."""
    size = integer(height, place, "height"), integer(width, place, "width")
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise fault(place, f"{size[0]}x{size[1]} is no size of an image; the limit is {MAX_PIXELS} pixels")
    return size


def record_key(value: Any) -> str | None:
    """The key of a record where a value is one: 16 hexadecimal digits, `-`, a number."""
    return value if isinstance(value, str) and _RECORD.fullmatch(value) else None


def verdict(value: Any) -> str | None:
    """`accepted` or `rejected` where a value says so."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return "accepted" if word in _SAID[0] else "rejected" if word in _SAID[1] else None


def seconds(value: Any, place: str, what: str) -> float | None:
    """Seconds since the epoch of a time in ISO 8601, in UTC where it names no zone. Raises ValueError."""
    written = text(value, place, what)
    if written is None:
        return None
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise fault(place, f"{what} is no time: {shown(written)}") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}, which is no number of JSON")
