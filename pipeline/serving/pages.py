"""What people see in a browser: the page to try the service, its example, and the API in words. Nothing is loaded from
elsewhere, and nothing runs but the page's own script."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from typing import Any

from jinja2 import Environment

EXAMPLE_PHRASES = ("the green square", "the purple triangle")
_TEMPLATES = importlib.resources.files("litelvlm.pipeline.serving") / "templates"
_POLICY = (
    "default-src 'none'; {own}; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@functools.cache
def page() -> str:
    """The page to try the service."""
    return (_TEMPLATES / "page.html").read_text("utf-8")


@functools.cache
def example() -> bytes:
    """A drawn scene as JPEG, of which the demo's model answers `EXAMPLE_PHRASES`."""
    return (_TEMPLATES / "example.jpg").read_bytes()


def api_page(document: dict[str, Any]) -> str:
    """An OpenAPI document for people."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_TEMPLATES / "api.html").read_text("utf-8"))
    schemas = document["components"]["schemas"]
    return template.render(info=document["info"], paths=document["paths"], schemas=schemas, type_of=type_in_words)


def type_in_words(schema: dict[str, Any]) -> str:
    """The type of a value, such as `list of number` or `"rle" or "png"`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(type_in_words(one) for one in schema["anyOf"])
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        return " or ".join("null" if one is None else f'"{one}"' for one in choices)
    if schema.get("type") == "array":
        return f"list of {type_in_words(schema['items'])}"
    return str(schema.get("type", "anything"))


def policy(html: str) -> str:
    """The Content-Security-Policy that lets a page run its own script and style, and no others."""
    own = []
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        own.append(" ".join([directive, *(f"'sha256-{one}'" for one in hashes)] if hashes else [directive, "'none'"]))
    return _POLICY.format(own="; ".join(own))
