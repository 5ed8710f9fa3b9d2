"""A real browser for the tests that need one: Chromium of this machine, driven by Playwright.

Playwright is imported by what uses it only: the other tests run without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window. `CHROMIUM` names its program where it has no usual name."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("these tests need Playwright: pip install '.[browser]', or `make browser`")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.fail("these tests need Chromium, e.g. apt-get install chromium, or CHROMIUM=/path/to/its/program")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--disable-background-networking"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    """A function that opens a page as `visit(path, width=…)`; fails if the page asks for anything or complains."""
    contexts, troubles = [], []

    def open_page(path: Path, *, width: int, scheme: str = "light", media: str = "screen") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, java_script_enabled=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: troubles.append(f"asked for {request.url[:100]}"))
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.emulate_media(media=media, color_scheme=scheme)
        page.goto(path.as_uri())
        asked = [f"asked for {path.as_uri()[:100]}"]
        expected = [trouble for trouble in troubles if trouble in asked or trouble.startswith("asked for data:")]
        for trouble in expected:
            troubles.remove(trouble)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles
