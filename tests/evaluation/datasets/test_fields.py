"""What a file's fields must be, and how they are told where they are not."""

import time
from typing import Any

import pytest

from litelvlm.evaluation.datasets.fields import field, id_field, json_field, shown, size_field, within


def test_what_is_shown_is_short_whatever_the_value() -> None:
    shared: Any = ["aaaa"]
    for _ in range(60):
        shared = [shared, shared]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    started = time.monotonic()
    values = (shared, deep, {"a": shared}, "x" * 10**7, b"x" * 10**7, 1 << 10**6, ("x",) * 10**6)
    assert max(len(shown(value)) for value in values) < 80
    assert time.monotonic() - started < 1
    assert [shown(value) for value in (None, 3, 1.5, True, "a\n", [1])] == [
        "null",
        "3",
        "1.5",
        "True",
        r"'a\n'",
        "a list",
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, "n: True instead of a whole number"),
        ("1", "n: '1' instead of a whole number"),
        (float("inf"), "n: inf instead of a whole number"),
        ([[]], "n: a list instead of a whole number"),
    ],
)
def test_fields_of_another_kind_are_named(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        field({"n": value}, "n", int)


def test_texts_are_unicode_and_ids_are_numbers_or_texts() -> None:
    assert (id_field({"id": "a"}, "id"), id_field({"id": 1}, "id")) == ("a", 1)
    for entry, reason in (({"id": [1]}, "id: a list instead of a number"), ("x", "'x' instead of an object with id")):
        with pytest.raises(ValueError, match=reason):
            id_field(entry, "id")
    with pytest.raises(ValueError, match=r"sent: .* is not valid Unicode"):
        field({"sent": "\ud800"}, "sent", str)


@pytest.mark.parametrize(
    ("height", "reason"),
    [(0, "height: 0 instead of 1"), (-5, "height: -5"), (10**12, "the limit is"), (4.5, "height: 4.5"), (None, "null")],
)
def test_sizes_that_no_image_has(height: Any, reason: str) -> None:
    assert size_field({"height": 4, "width": 5}) == (4, 5)
    with pytest.raises(ValueError, match=reason):
        size_field({"height": height, "width": 5})


def test_json_that_is_no_object_and_places() -> None:
    assert json_field({"raw": '{"a": 1}'}, "raw") == {"a": 1}
    for text, reason in (("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[1]", "a list instead of a JSON object")):
        with pytest.raises(ValueError, match=f"^row 3: raw: {reason}"), within("row 3"):
            json_field({"raw": text}, "raw")
