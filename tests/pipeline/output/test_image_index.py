"""Images of a run: names of their own, and which of them are scattered over the input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from litelvlm.pipeline.output.image_index import ImageIndex


def test_images_that_would_share_a_name_get_names_of_their_own() -> None:
    with ImageIndex() as index:
        for key, name in (("k1", "a.jpg"), ("k2", "a.png"), ("k3", "A.jpg"), ("k4", "b.jpg"), ("k1", "a.jpg")):
            index.add_run(key, name)
        names = [index.name(key) for key in ("k1", "k2", "k3", "k4")]
        assert names == ["a.jpg", "a~k2.png", "A~k3.jpg", "b.jpg"]
        assert index.is_scattered("k1")
        assert not index.is_scattered("k2")
        assert index.num_images == 4
        assert index.name("k9") is None


@pytest.mark.parametrize(("first", "second"), [("caf\u00e9.jpg", "cafe\u0301.jpg"), ("ÄPFEL.jpg", "a\u0308pfel.jpg")])
def test_names_that_differ_in_case_or_composition_alone_get_names_of_their_own(first: str, second: str) -> None:
    with ImageIndex() as index:
        index.add_run("k1", first)
        index.add_run("k2", second)
        assert index.name("k1") == first
        assert index.name("k2") == second.replace(".jpg", "~k2.jpg")


def test_adjacent_runs_of_an_image_are_one_and_it_is_scattered_from_the_second_on() -> None:
    with ImageIndex() as index:
        assert not index.add_run("a", "a.jpg")
        assert not index.add_run("a", "a.jpg")  # as at the border of two shards
        assert not index.add_run("b", "b.jpg")
        assert index.add_run("a", "a.jpg")
        assert index.add_run("a", "a.jpg")
        index.add_run("b", "b.jpg")
        assert (index.num_images, index.num_scattered) == (2, 2)


def test_many_images_of_one_name_and_one_beginning_of_a_key_are_numbered() -> None:
    with ImageIndex() as index:
        for number in range(4):
            index.add_run(f"samesame{number}", "a.jpg")
        names = [index.name(f"samesame{number}") for number in range(4)]
    assert names == ["a.jpg", "a~samesame.jpg", "a~samesame-2.jpg", "a~samesame-3.jpg"]


def test_what_was_put_aside_comes_back_by_position() -> None:
    with ImageIndex() as index:
        for key, position in (("a", 2), ("b", 1), ("a", 0)):
            index.put_aside(key, position, f"{key}{position}")
        assert index.take("a") == ["a0", "a2"]
        assert index.take("c") == []


def test_hostile_keys_and_names_are_data() -> None:
    with ImageIndex() as index:
        index.add_run("'; DROP TABLE images; --", "x'); DROP TABLE stems;--.jpg")
        assert index.name("'; DROP TABLE images; --") == "x'); DROP TABLE stems;--.jpg"


def test_nothing_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ImageIndex() as index:
        index.add_run("a", "a.jpg")
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []
