"""File names that go into the output."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image_index import ImageIndex
from pipeline.names import safe_file_name, safe_path

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("image_id", "uri", "expected"),
    [
        ("7", None, "7.png"),
        ("a/b.jpg", None, "a/b.jpg"),
        ("../../etc/passwd", None, "etc/passwd.png"),
        ("x", "s3://bucket/train/1.JPG", "train/1.JPG"),
        ("x", "https://host/a/1.jpg?sig=secret#f", "a/1.jpg"),
        ("x", "/data/set/1.jpg", "data/set/1.jpg"),
        ("a\\b", None, "a/b.png"),
        ("nul\x00 and \u202ertl", None, "nul_ and _rtl.png"),
        ("C:x", None, "C_x.png"),
        ("...", None, "unnamed.png"),
        ("", None, "unnamed.png"),
    ],
)
def test_names_are_relative_and_plain(image_id, uri, expected):
    assert safe_file_name(image_id, uri, PNG, root=None) == expected


def test_the_image_root_is_left_out():
    assert safe_file_name("x", "/data/set/sub/1.jpg", PNG, root="/data/set") == "sub/1.jpg"


@given(st.text(max_size=400))
def test_any_text_becomes_a_safe_path(text):
    path = safe_path(text)
    parts = path.split("/")
    assert posixpath.normpath(path) == path
    assert not path.startswith("/")
    assert ".." not in parts
    assert all(part and len(part.encode()) <= 120 for part in parts)
    assert all(char.isprintable() or char.isspace() for char in path)


def test_images_that_would_share_a_name_get_names_of_their_own():
    with ImageIndex() as index:
        for key, name in (("k1", "a.jpg"), ("k2", "a.png"), ("k3", "A.jpg"), ("k4", "b.jpg"), ("k1", "a.jpg")):
            index.add_run(key, name)
        names = [index.name(key) for key in ("k1", "k2", "k3", "k4")]
        assert names == ["a.jpg", "a~k2.png", "A~k3.jpg", "b.jpg"]
        assert index.is_scattered("k1")
        assert not index.is_scattered("k2")
        assert index.num_images == 4
        assert index.name("k9") is None
