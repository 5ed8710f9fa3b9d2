"""Images of a run: names of their own, and which of them are scattered over the input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from litelvlm.pipeline.output.image_index import ImageIndex
from litelvlm.pipeline.output.unique_names import hashes_of, whole_name

Runs = list[tuple[str, str]]


def key(number: int) -> str:
    return f"{number:08x}{number:08x}"


def index_of(runs: Runs, *, shards: int = 1) -> ImageIndex:
    """An index of runs that come from so many shards."""
    index = ImageIndex()
    for shard in range(shards):
        index.add(*hashes_of(runs[shard * len(runs) // shards : (shard + 1) * len(runs) // shards], whole_name))
    index.rename(runs)
    return index


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_adjacent_runs_of_an_image_are_one_and_others_are_scattered(shards: int) -> None:
    a, b, c = ((key(number), f"{number}.jpg") for number in range(3))
    index = index_of([a, a, b, a, a, c, c], shards=shards)  # adjacent ones meet at the borders of shards, too
    assert index.scattered == {a[0]}
    assert index.clashing == frozenset()


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
        index.add(*hashes_of([(key(1), "a.jpg")], whole_name))
        assert index.scattered == frozenset()
        assert os.listdir(tmp_path) == []
        index.put_aside(key(1), [b"x"])
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_an_empty_run_has_no_images() -> None:
    with ImageIndex() as index:
        assert (index.scattered, index.clashing, index.renamed) == (frozenset(), frozenset(), {})
