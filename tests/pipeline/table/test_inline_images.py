"""base64 and data: URIs in a string column are images, addresses are not."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.table.inline_images import NotInline, inline_image

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)


def encoded(kind: str) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(PIXELS).save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_base64_in_every_spelling_is_the_image(kind: str) -> None:
    data = encoded(kind)
    plain = base64.b64encode(data).decode()
    wrapped = base64.encodebytes(data).decode()
    url_safe = base64.urlsafe_b64encode(data).decode()
    for text in (plain, wrapped, url_safe, plain.rstrip("="), f"  {plain}\n"):
        assert inline_image(text) == data
    for head in ("data:image/x;base64,", "DATA:;charset=utf-8;base64,", "data:image/png;name=a.png;base64,"):
        assert inline_image(head + plain) == data
    assert inline_image("data:image/png;base64," + plain.replace("+", "%2B").replace("=", "%3D")) == data


@pytest.mark.parametrize(
    "address",
    [
        "a.png",
        "images/0001/0002.jpg",
        "/9j/photos/4AAQ.jpg",
        "s3://bucket/" + "a" * 200,
        "https://host/x?y=" + "A" * 300,
        "file:///data/a.png",
        "0" * 32,
        "Qk1photo",
        "iVBORw0KGgo",
        "",
        "   ",
        "日本語" * 40,
        "a" * 8192,
    ],
)
def test_addresses_stay_addresses(address: str) -> None:
    assert inline_image(address) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data:image/png;base64", "without a comma"),
        ("data:image/png;base64,****", "data: URI that is not base64"),
        (base64.b64encode(encoded("PNG")).decode() + "*", "base64 text that is not base64 to its end"),
    ],
)
def test_what_claims_to_be_an_image_and_is_none_says_so(text: str, reason: str) -> None:
    found = inline_image(text)
    assert isinstance(found, NotInline)
    assert reason in found.reason


def test_a_data_uri_without_base64_is_its_bytes() -> None:
    assert inline_image("data:,hello%20there") == b"hello there"


def test_base64_of_something_else_is_decoded_where_no_address_is_so_long() -> None:
    data = bytes(range(256)) * 40
    assert inline_image(base64.b64encode(data).decode()) == data
