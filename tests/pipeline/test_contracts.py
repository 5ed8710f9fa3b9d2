"""Contracts: what is written is read back, other versions and damage are refused in a line that names the file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from litelvlm.pipeline.contracts import Contract, check_version
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import FORMAT_VERSION


@dataclass(frozen=True, kw_only=True)
class Inner:
    pair: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Outer(Contract):
    indent: ClassVar[int | None] = 1

    name: str
    inner: list[Inner] = field(default_factory=list)
    share: float | None = None


def test_the_bytes_are_sorted_versioned_json_that_ends_in_a_line_break() -> None:
    data = Outer(name="ä", inner=[Inner(pair=(1, 2))]).to_json()
    lines = [
        '"inner": [',
        " {",
        '  "pair": [',
        "   1,",
        "   2",
        "  ]",
        " }",
        "],",
        '"name": "\\u00e4",',
        '"share": null,',
    ]
    body = "".join(f" {line}\n" for line in lines)
    assert data.decode() == f'{{\n{body} "version": {FORMAT_VERSION}\n}}\n'


def test_what_is_written_is_read_back_as_the_same_types() -> None:
    given = Outer(name="x", inner=[Inner(pair=(1, 2)), Inner(pair=(3, 4))], share=0.5)
    assert Outer.from_json(given.to_json(), "x.json") == given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": None}, "x.json says no version, but this program reads version"),
        ({"version": FORMAT_VERSION + 1}, f"x.json says version {FORMAT_VERSION + 1}, but this program reads"),
        ({"version": str(FORMAT_VERSION)}, f"x.json says version '{FORMAT_VERSION}'"),
        ({"name": None}, "x.json is damaged: name: "),
        ({"inner": [{"pair": [1]}]}, r"x.json is damaged: inner\.0\.pair"),
        ({"share": "half"}, "x.json is damaged: share: "),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_place(change: dict[str, object], message: str) -> None:
    values = {"version": FORMAT_VERSION, "name": "x", "inner": []} | change
    with pytest.raises(DataError, match=message) as caught:
        Outer.from_json(json.dumps(values).encode(), "x.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("data", "message"), [(b"", "no JSON"), (b"\xff", "no JSON"), (b"null", "no JSON object")])
def test_damaged_bytes_are_refused_by_file(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"x.json is damaged: it is {message}"):
        Outer.from_json(data, "x.json")


def test_a_version_is_a_number_of_this_program() -> None:
    check_version(FORMAT_VERSION, "x")
    with pytest.raises(DataError, match=r"x says version 3\.5"):
        check_version(3.5, "x")
