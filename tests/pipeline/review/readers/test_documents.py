"""Values from outside: taken where they are what they must be, refused in a line where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from litelvlm.pipeline.review.readers import documents as d


@pytest.mark.parametrize(
    ("call", "value", "expected"),
    [
        (d.text, "a", "a"),
        (d.text, 5, "5"),
        (d.text, "", None),
        (d.number, "0.5", 0.5),
        (d.number, 1, 1.0),
        (d.number, "", None),
        (d.integer, "7", 7),
        (d.integer, 7.0, 7),
        (d.seconds, "1970-01-01T00:00:02Z", 2.0),
        (d.seconds, "1970-01-01 00:00:02.500000+00:00", 2.5),
        (d.seconds, "1970-01-01T00:00:02", 2.0),
        (d.seconds, None, None),
    ],
)
def test_values_are_taken(call: Callable[..., Any], value: object, expected: object) -> None:
    assert call(value, "f", "v") == expected


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (d.text, True),
        (d.text, 1.5),
        (d.text, {}),
        (d.text, "\ud800"),
        (d.text, "x" * 100_001),
        pytest.param(d.text, 10**5000, id="long"),
        (d.number, True),
        (d.number, "nan"),
        pytest.param(d.number, 10**400, id="large"),
        (d.number, "high"),
        (d.integer, 1.5),
        (d.integer, None),
        (d.integer, 1 << 53),
        (d.seconds, "yesterday"),
        (d.seconds, "99999-01-01"),
        (d.seconds, 5),
        (d.required_text, ""),
    ],
)
def test_values_are_refused(call: Callable[..., Any], value: object) -> None:
    with pytest.raises(ValueError, match=r"^f: ") as caught:
        call(value, "f", "v")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(0, 5), (-1, -1), (1, None), (10_001, 10_000), (1.5, 2), (True, 2)])
def test_sizes_are_those_of_images(size: tuple[Any, Any]) -> None:
    assert d.size_hw(10_000, "10000", "f") == (10_000, 10_000)
    with pytest.raises(ValueError, match=r"^f: "):
        d.size_hw(*size, "f")


def test_lists_and_objects() -> None:
    assert list(d.objects([{}, {"a": 1}], "f", "l")) == [{}, {"a": 1}]
    assert list(d.objects(None, "f", "l")) == []
    value: object
    for value in ([1], {}, "x", 0):
        with pytest.raises(ValueError, match="l is no list of objects"):
            d.objects(value, "f", "l")
    with pytest.raises(ValueError, match="expected an object, found list"):
        d.an_object([], "f")


def test_words_of_reviewers() -> None:
    assert [d.verdict(word) for word in ("Accepted", " reject ", "needs_review", None, 5)] == [
        *("accepted", "rejected"),
        *(None, None, None),
    ]
    assert d.record_key("0123456789abcdef-12") == "0123456789abcdef-12"
    assert not any(map(d.record_key, ("0123456789ABCDEF-1", "0123456789abcdef", "x0123456789abcdef-1", 5, None)))
    assert d.loose_text("a\ud800") == "a?"
    assert d.loose_text(5) is None


def test_messages_are_one_short_line() -> None:
    assert str(d.fault("a\nb", "c  d")) == "a b: c d"
    assert len(str(d.fault("a", "b" * 5000))) == 1000
    assert d.shown("a\nb\ud800") == "a b\\ud800"
    assert d.shown(10**5000) == "a number"
    assert d.shown(True) == "bool"


def test_json_and_xml() -> None:
    assert d.read_json(b"\xef\xbb\xbf[1]", "f") == [1]
    assert d.read_xml(b"<a><b/></a>", "f").tag == "a"
    for data in (b"[Infinity]", b"[" * 100_000, b"\xff"):
        with pytest.raises(ValueError, match=r"^f: is no JSON"):
            d.read_json(data, "f")
    for data in (b"<a>", b"", b"<!DOCTYPE a><a/>", b"<\0a\0/\0>\0"):
        with pytest.raises(ValueError, match=r"^f: is "):
            d.read_xml(data, "f")
