"""File names that go into the output."""

from __future__ import annotations

import io
import posixpath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.output.coco import CocoWriter
from litelvlm.pipeline.output.names import safe_file_name, safe_path

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


def test_the_image_root_is_left_out() -> None:
    assert safe_file_name("x", "/data/set/sub/1.jpg", PNG, root="/data/set") == "sub/1.jpg"


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
