"""What bytes are, told from the first few: every format, and why the rest are none."""

import io
import json

import pytest
from PIL import Image

from litelvlm.pipeline.images.sniff import sniff_format
from tests.pipeline.wild import encode, picture


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_what_pillow_writes_is_named(kind: str) -> None:
    assert sniff_format(encode(Image.fromarray(picture()), kind))[0] == kind.lower()


@pytest.mark.parametrize("kind", ["JPEG2000", "ICO", "DDS", "PDF"])
def test_formats_that_are_not_read_are_named_in_words(kind: str) -> None:
    code, words = sniff_format(encode(Image.fromarray(picture()), kind))
    assert code == "unsupported_format"
    assert words.replace(" ", "").removesuffix("data") == kind


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"MM\0*....", "tiff", "tiff"),
        (b"II+\0....", "tiff", "tiff"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not_an_image", "starts with 52 49 46 46"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format", "HEIC data"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0miafavif", "avif", "AVIF data"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "unsupported_format", "a video"),
        (b"\0\0\0\x0cftypisomavif", "unsupported_format", "a video"),  # a brand behind the box's end is none
        (b"PK\x03\x04rest", "unsupported_format", "ZIP data"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "lfs_pointer", "was not downloaded"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "svg", "a vector drawing"),
        (b"\xef\xbb\xbf \n<!DOCTYPE HTML><p>", "html", "a web page"),
        ("\ufeff<html>".encode("utf-16-le"), "html", "a web page"),
        (b"<Error><Code>AccessDenied</Code></Error>", "xml", "error answer of a storage service"),
        (json.dumps({"error": "quota"}).encode(), "json", "error answer of a service"),
        (b"GIF88a", "not_an_image", "starts with 47 49 46 38 38 61"),
        (b"", "not_an_image", "starts with"),
    ],
)
def test_bytes_are_told_with_a_code_and_words(data: bytes, code: str, words: str) -> None:
    found = sniff_format(data)
    assert found[0] == code
    assert words in found[1]


def test_sniffing_reads_a_bounded_head() -> None:
    assert sniff_format(b" " * 10_000_000 + b"<html>")[0] == "not_an_image"
    assert sniff_format(io.BytesIO(b"\xff\xd8\xff\xe0").getvalue())[0] == "jpeg"
