"""File names that go into the output."""

from __future__ import annotations

import io
import posixpath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.output.names import safe_file_name, safe_path, true_path
from tests.pipeline.output.coco_writer import CocoWriter

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
        ("x", "s3://b/imgs/photo #1.png", "imgs/photo #1.png"),
        ("x", "s3://b/imgs/what?.png", "imgs/what?.png"),
        ("x", "gs://b/imgs/100%25.png", "imgs/100%25.png"),
        ("x", "s3://b/day=1/a+b.png", "day=1/a+b.png"),
        ("x", "file:///data/a%20b%23.png", "data/a b#.png"),
        ("x", "https://host/a%20b.png?sig=secret", "a%20b.png"),
        ("x", "/set/ con./nul.png", "set/ con./nul.png"),
        ("x", "s3://b/../a/./b.png", "a/b.png"),
        ("x", "s3://b/a\u202eb\x01.png", "a_b_.png"),
        ("a\\b", None, "a/b.png"),
        ("nul\x00 and \u202ertl", None, "nul_ and _rtl.png"),
        ("C:x", None, "C_x.png"),
        ("con", None, "_con.png"),
        ("a/NUL.tar.jpg", None, "a/_NUL.tar.jpg"),
        ("aux .jpg", None, "_aux .jpg"),
        ("lpt\u00b9", None, "_lpt\u00b9.png"),
        ("console.jpg", None, "console.jpg"),
        ("a. . /b. ", None, "a/b.png"),
        ("a\u2028b\u2029c", None, "a_b_c.png"),
        ("画像\u3000１", None, "画像\u3000１.png"),
        ("...", None, "unnamed.png"),
        ("", None, "unnamed.png"),
    ],
)
def test_names_are_relative_and_plain(image_id: str, uri: Any, expected: str) -> None:
    assert safe_file_name(image_id, uri, PNG, root=None) == expected


@pytest.mark.parametrize(
    ("uri", "root", "expected"),
    [
        ("/data/set/sub/1.jpg", "/data/set", "sub/1.jpg"),
        ("file:///data/set/a%20b.jpg", "/data/set/", "a b.jpg"),
        ("https://host/set/a.jpg?sig=secret", "https://host/set", "a.jpg"),
        ("s3://b/set/a#1.jpg", "s3://b/set", "a#1.jpg"),
        ("2024-01-01T10:00:00.png", "/data", "2024-01-01T10:00:00.png"),
        ("a/b/c/d/e/f/g/h/i/j.png", "/data", "a/b/c/d/e/f/g/h/i/j.png"),
        ("\u56fe" * 60 + ".png", "/data", "\u56fe" * 60 + ".png"),
        ("what?.png", "https://host/set", "what?.png"),
    ],
)
def test_a_name_is_that_of_the_file_below_the_image_root(uri: str, root: str, expected: str) -> None:
    assert safe_file_name("x", uri, PNG, root=root) == expected


@given(st.text(max_size=3_000))
def test_any_uri_becomes_a_name_that_a_file_can_have(text: str) -> None:
    path = true_path(text)
    assert posixpath.normpath(path) == path
    assert not path.startswith("/")
    assert len(path.encode()) <= 1024
    assert all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in path.split("/"))
    CocoWriter(lambda _: io.BytesIO()).add_image(file_name=path, height=1, width=1, annotations=[])


def test_long_names_stay_different() -> None:
    one, two = (safe_file_name("x", f"/{'a' * 300}{number}.png", PNG, root=None) for number in (1, 2))
    assert one != two
    assert one.endswith(".png")


@given(st.text(max_size=400))
def test_any_text_becomes_a_safe_path(text: Any) -> None:
    path = safe_path(text)
    parts = path.split("/")
    assert posixpath.normpath(path) == path
    assert not path.startswith("/")
    assert ".." not in parts
    assert all(part and len(part.encode()) <= 120 for part in parts)
    assert all(part == part.strip(" ") and not part.endswith(".") for part in parts)
    # Whatever becomes a name is one that the COCO writer takes.
    CocoWriter(lambda _: io.BytesIO()).add_image(file_name=path, height=1, width=1, annotations=[])
