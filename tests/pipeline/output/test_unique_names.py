"""Names of their own for images that some tool would take for one."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.output.unique_names import (
    Sameness,
    UniqueNames,
    hashes_of,
    name_key,
    whole_name,
    without_extension,
)

Runs = list[tuple[str, str]]


def key(number: int) -> str:
    return f"{number:08x}{number:08x}"


def names_of(runs: Runs, sameness: Sameness = without_extension) -> list[str]:
    names = UniqueNames(sameness)
    names.add(*hashes_of(runs[:2], sameness))
    names.add(*hashes_of(runs[2:], sameness))
    names.rename(runs)
    return [names.renamed.get(one, name) for one, name in runs]


def test_images_that_would_share_a_name_get_names_of_their_own() -> None:
    runs = [(key(1), "a.jpg"), (key(2), "a.png"), (key(3), "A.jpg"), (key(4), "b.jpg"), (key(1), "a.jpg")]
    assert names_of(runs) == ["a.jpg", "a~00000002.png", "A~00000003.jpg", "b.jpg", "a.jpg"]


@pytest.mark.parametrize(("first", "second"), [("caf\u00e9.jpg", "cafe\u0301.jpg"), ("ÄPFEL.jpg", "a\u0308pfel.jpg")])
def test_names_that_differ_in_case_or_composition_alone_get_names_of_their_own(first: str, second: str) -> None:
    assert names_of([(key(1), first), (key(2), second)]) == [first, second.replace(".jpg", "~00000002.jpg")]


def test_many_images_of_one_name_and_one_beginning_of_a_key_are_numbered() -> None:
    runs = [(f"5a5a5a5a{number:08x}", "a.jpg") for number in range(4)]
    assert names_of(runs) == ["a.jpg", "a~5a5a5a5a.jpg", "a~5a5a5a5a-2.jpg", "a~5a5a5a5a-3.jpg"]


def test_a_made_up_name_is_none_that_an_image_has() -> None:
    runs = [(key(1), "a.jpg"), (key(2), "a.jpg"), (key(3), "a~00000002.jpg")]
    assert names_of(runs) == ["a.jpg", "a~00000002-2.jpg", "a~00000002.jpg"]


def test_where_whole_names_count_others_stay_as_they_are() -> None:
    runs = [(key(1), "a.jpg"), (key(2), "a.png"), (key(3), "A.jpg"), (key(4), "a.jpg"), (key(1), "a.jpg")]
    assert names_of(runs, whole_name) == ["a.jpg", "a.png", "A.jpg", "a~00000004.jpg", "a.jpg"]


def test_the_key_of_a_name_is_16_digits() -> None:
    assert len(name_key("ä")) == len(name_key("")) == 16
    assert name_key("a") != name_key("A")
