"""A page in one file: what comes from data is cleaned and escaped, styles are bound by their hash."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report.rendering import render_page


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a template and styles."""
    root = tmp_path / "pages_of_a_test" / "templates"
    root.mkdir(parents=True)
    (root.parent / "__init__.py").touch()
    (root / "x.html").write_text("<style>{{ css }}</style>|{{ css_hash }}|{{ value }}|{{ number }}")
    (root / "a.css").write_text("a > b { color: red }")
    (root / "b.css").write_text('/* "b" */')
    monkeypatch.syspath_prepend(str(tmp_path))
    return "pages_of_a_test"


def page(package: str, value: object) -> tuple[str, str, str, str]:
    text = render_page(
        "x.html", {"value": value, "number": 3}, redact=Redactor({"secret": "hunter2"}), styles=["a.css", "b.css"],
        packages=[package],
    )  # fmt: skip
    css, digest, shown, number = text.split("|")
    return css, digest, shown, number


def test_styles_are_inside_and_their_hash_is_that_of_the_policy(package: str) -> None:
    css, digest, _, number = page(package, "")
    inside = re.fullmatch("<style>(.*)</style>", css, re.DOTALL)
    assert inside is not None
    assert inside.group(1) == 'a > b { color: red }/* "b" */'
    assert digest == base64.b64encode(hashlib.sha256(inside.group(1).encode()).digest()).decode()
    assert number == "3"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        ("key hunter2", "key &lt;redacted&gt;"),
        ("s3://u:p@b/x?sig=1", "s3://&lt;redacted&gt;@b/x?&lt;redacted&gt;"),
        (Markup("<b>ours</b>"), "<b>ours</b>"),
    ],
)
def test_texts_are_cleaned_and_escaped_and_markup_is_not(package: str, value: str, shown: str) -> None:
    assert page(package, value)[2] == shown


def test_a_value_that_is_missing_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="value"):
        render_page("x.html", {"number": 1}, redact=Redactor({}), styles=[], packages=[package])
