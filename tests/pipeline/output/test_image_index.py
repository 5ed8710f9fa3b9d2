"""Images of a run: names of their own, and which of them are scattered over the input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from litelvlm.pipeline.output.image_index import ImageIndex, hashes_of

Runs = list[tuple[str, str]]


def key(number: int) -> str:
    return f"{number:08x}{number:08x}"


def index_of(runs: Runs, *, shards: int = 1) -> ImageIndex:
    """An index of runs that come from so many shards."""
    index = ImageIndex()
    for shard in range(shards):
        index.add(*hashes_of(runs[shard * len(runs) // shards : (shard + 1) * len(runs) // shards]))
    index.rename(runs)
    return index


def names_of(runs: Runs) -> list[str]:
    index = index_of(runs)
    return [index.renamed.get(one, name) for one, name in runs]


def test_images_that_would_share_a_name_get_names_of_their_own() -> None:
    runs = [(key(1), "a.jpg"), (key(2), "a.png"), (key(3), "A.jpg"), (key(4), "b.jpg"), (key(1), "a.jpg")]
    assert names_of(runs) == ["a.jpg", "a~00000002.png", "A~00000003.jpg", "b.jpg", "a.jpg"]


@pytest.mark.parametrize(("first", "second"), [("caf\u00e9.jpg", "cafe\u0301.jpg"), ("ÄPFEL.jpg", "a\u0308pfel.jpg")])
def test_names_that_differ_in_case_or_composition_alone_get_names_of_their_own(first: str, second: str) -> None:
    assert names_of([(key(1), first), (key(2), second)]) == [first, second.replace(".jpg", "~00000002.jpg")]


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_adjacent_runs_of_an_image_are_one_and_others_are_scattered(shards: int) -> None:
    a, b, c = ((key(number), f"{number}.jpg") for number in range(3))
    index = index_of([a, a, b, a, a, c, c], shards=shards)  # adjacent ones meet at the borders of shards, too
    assert index.scattered == {a[0]}
    assert index.clashing == frozenset()


def test_many_images_of_one_name_and_one_beginning_of_a_key_are_numbered() -> None:
    runs = [(f"5a5a5a5a{number:08x}", "a.jpg") for number in range(4)]
    assert names_of(runs) == ["a.jpg", "a~5a5a5a5a.jpg", "a~5a5a5a5a-2.jpg", "a~5a5a5a5a-3.jpg"]


def test_a_made_up_name_is_none_that_an_image_has() -> None:
    runs = [(key(1), "a.jpg"), (key(2), "a.jpg"), (key(3), "a~00000002.jpg")]
    assert names_of(runs) == ["a.jpg", "a~00000002-2.jpg", "a~00000002.jpg"]


def test_what_was_put_aside_comes_back_in_order() -> None:
    with ImageIndex() as index:
        for one, content in (("a", [b"a0"]), ("b", [b"b0"]), ("a", [b"a1", b"a2"])):
            index.put_aside(one, content)
        assert index.take("a") == [b"a0", b"a1", b"a2"]
        assert index.take("'; DROP TABLE annotations; --") == []


def test_nothing_stays_on_disk_and_without_scattered_images_nothing_gets_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ImageIndex() as index:
        index.add(*hashes_of([(key(1), "a.jpg")]))
        assert index.scattered == frozenset()
        assert os.listdir(tmp_path) == []
        index.put_aside(key(1), [b"x"])
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_an_empty_run_has_no_images() -> None:
    with ImageIndex() as index:
        assert (index.scattered, index.clashing, index.renamed) == (frozenset(), frozenset(), {})
