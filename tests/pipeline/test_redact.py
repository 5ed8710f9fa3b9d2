"""No secret is in any message: URL queries, URL credentials and the values of storage options."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.redact import MAX_CHARS, Redactor

OPTIONS = {
    "key": "AKIA-longer",
    "token": "AKIA",
    "anon": "true",
    "pin": "123",
    "endpoint_url": "http://minio:9000",
    "client_kwargs": {"aws_session_token": "tok-456", "signature_version": "s3v4"},
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("key AKIA-longer, token AKIA", "key <redacted>, token <redacted>"),  # the longer one is not cut by the shorter
        ("tok-456", "<redacted>"),
        ("true 123 s3v4 http://minio:9000", "true 123 s3v4 http://minio:9000"),  # no secrets, or too short to tell
        ("GET https://h/a?sig=abc#x failed", "GET https://h/a?<redacted> failed"),
        ("s3://user:pw@bucket/x", "s3://<redacted>@bucket/x"),
        ("HTTPS://u@h/x 'http://h/y?q'", "HTTPS://<redacted>@h/x 'http://h/y?<redacted>'"),
        ("a\x00b\x1b[31m\u202ec\nd", "a b [31m c d"),
        ("mail to a@b.example? no", "mail to a@b.example? no"),
    ],
)
def test_messages_come_in_one_line_without_secrets(message: str, expected: str) -> None:
    assert Redactor(OPTIONS)(message) == expected


def test_messages_are_cut_after_secrets_are_out() -> None:
    found = Redactor(OPTIONS)("x" * (MAX_CHARS - 8) + " AKIA-longer" + "y" * 10)
    assert len(found) == MAX_CHARS
    assert "AKIA" not in found
    assert found.endswith("…")
    assert Redactor({})("x" * MAX_CHARS) == "x" * MAX_CHARS


def test_a_text_keeps_its_lines_and_length() -> None:
    text = "line one AKIA-longer\n" + "x" * 1_000 + "\n\tlast"
    assert Redactor(OPTIONS).text(text) == text.replace("AKIA-longer", "<redacted>")
