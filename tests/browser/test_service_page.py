"""The service's page in a real browser: dropped, typed, slid, by keyboard, on a phone, with nothing from elsewhere."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.config import RULES
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.listener import Listener
from litelvlm.pipeline.serving.pages import EXAMPLE_PHRASES
from tests.fakes import NUM_VISUAL_TOKENS
from tests.pipeline.serving.doubles import TOKEN, Service, free_port, service

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
PIXELS = """() => {
    const canvas = document.getElementById('canvas');
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join();
}"""


class Site:
    """A service of the tests' doubles that listens, in a thread of its own."""

    def __init__(self, made: Service) -> None:
        self.made, port = made, free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._listener = Listener(made.client._transport.app, ServeConfig(port=port))  # type: ignore[attr-defined]
        self._loop.call_soon_threadsafe(self._listener.start)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listener.close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site(service(num_retain_tokens=16, rule="paper"))
    yield made
    made.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Any]:
    """A function that opens an address; fails if its page asks elsewhere or complains."""
    contexts: list[Any] = []
    troubles: dict[str, list[str]] = {"asked": [], "said": []}

    def open_page(url: str, path: str = "", *, width: int = 1200, scheme: str = "light", allowed: str = "") -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        page = contexts[-1].new_page()
        asked, said = troubles["asked"], troubles["said"]
        page.on("request", lambda one: asked.append(one.url) if not one.url.startswith((url, "blob:", "data:")) else 0)
        page.on("console", lambda one: said.append(one.text) if not allowed or allowed not in one.text else 0)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == {"asked": [], "said": []}


def png(size: tuple[int, int] = (48, 32)) -> dict[str, Any]:
    """A file to be chosen."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"name": "a.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def wait_for_answer(page: Any) -> None:
    page.wait_for_function("() => document.getElementById('status').textContent.includes(' ms')")


def find(page: Any, phrase: str) -> None:
    """Type a phrase and wait for its answer."""
    with page.expect_response(lambda one: one.url.endswith("/v1/annotate")):
        page.get_by_role("textbox", name="Phrase").fill(phrase)
        page.keyboard.press("Enter")
    wait_for_answer(page)


def drop(page: Any, file: dict[str, Any]) -> None:
    """As a file that is let go over the page."""
    transfer = page.evaluate_handle(
        """bytes => {
            const found = new DataTransfer();
            found.items.add(new File([new Uint8Array(bytes)], 'a.png', {type: 'image/png'}));
            return found;
        }""",
        list(file["buffer"]),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def test_the_example_shows_masks_scores_and_kept_tokens(show: Any, site: Site) -> None:
    page = show(site.url)
    page.get_by_role("button", name="Try an example").click()
    wait_for_answer(page)
    answers = page.locator("#answers li")
    assert [text.split("score")[0].strip() for text in answers.all_inner_texts()] == [*EXAMPLE_PHRASES]
    assert all("score 0." in text for text in answers.all_inner_texts())
    with_masks = page.evaluate(PIXELS)
    page.get_by_label("dim dropped tokens").uncheck()
    assert page.evaluate(PIXELS) != with_masks
    assert page.locator("#kept").inner_text() == f"16 of {NUM_VISUAL_TOKENS}"


def test_a_dropped_image_is_asked_what_is_typed(show: Any, site: Site) -> None:
    page = show(site.url)
    drop(page, png())
    page.get_by_text("Now type a phrase.").wait_for()
    bare = page.evaluate(PIXELS)
    find(page, "cat")
    one = page.evaluate(PIXELS)
    find(page, "dog")
    assert len({bare, one, page.evaluate(PIXELS)}) == 3
    assert list(site.made.backend.asked[-1].phrases) == ["cat", "dog"]
    page.get_by_role("button", name="Remove cat").click()
    assert page.locator("#answers li").count() == 1
    with page.expect_response(lambda one: one.url.endswith("/v1/annotate")):
        drop(page, png((40, 60)))
    assert list(site.made.backend.asked[-1].phrases) == ["dog"]


def test_the_slider_changes_budget_speed_and_kept_tokens(show: Any, site: Site) -> None:
    page = show(site.url)
    page.locator("#file").set_input_files(png())
    find(page, "cat")
    before = page.evaluate(PIXELS)
    with page.expect_response(lambda one: one.url.endswith("/v1/annotate")):
        page.get_by_role("slider").focus()
        page.keyboard.press("ArrowRight")
    page.get_by_role("row", name="17 tokens").wait_for()
    assert page.get_by_role("row").count() == 2
    assert page.evaluate(PIXELS) != before
    assert site.made.backend.asked[-1].num_retain_tokens == 17


def test_rules_are_those_of_the_service(show: Any, site: Site) -> None:
    page = show(site.url)
    page.wait_for_function("() => document.getElementById('rule').options.length")
    assert page.locator("#rule option").all_inner_texts() == list(RULES)
    assert page.locator("#rule").input_value() == "paper"
    page.locator("#file").set_input_files(png())
    find(page, "cat")
    with page.expect_response(lambda one: one.url.endswith("/v1/annotate")):
        page.locator("#rule").select_option("context")
    assert site.made.backend.asked[-1].rule == "context"


def test_everything_can_be_reached_and_seen_by_keyboard(show: Any, site: Site) -> None:
    page = show(site.url)
    page.get_by_role("button", name="Try an example").wait_for()
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "() => [document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert focus[1] == "solid"
        reached.append(focus[0])
    assert reached == ["file", "example", "phrase", "ask", "budget", "rule"]
    page.locator("#example").focus()
    page.keyboard.press("Enter")
    wait_for_answer(page)
    second = page.locator("#answers li").nth(1).get_by_role("button").first
    second.focus()
    page.keyboard.press("Enter")
    assert page.locator("#answers [aria-pressed=true]").inner_text().startswith(EXAMPLE_PHRASES[1])
    assert page.evaluate("() => document.activeElement.getAttribute('aria-pressed')") == "true"


@pytest.mark.parametrize("width", [375, 1200])
def test_it_fits_and_fingers_can_hit_it(show: Any, site: Site, width: int) -> None:
    page = show(site.url, width=width)
    page.get_by_role("button", name="Try an example").click()
    wait_for_answer(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    heights = page.evaluate(
        "() => [...document.querySelectorAll('button, input:not([type=checkbox]), select')]"
        ".map(one => one.getBoundingClientRect().height).filter(height => height > 0)"
    )
    assert len(heights) >= 8
    assert min(heights) >= 44


def test_a_phrase_is_text_whatever_it_says(show: Any, site: Site) -> None:
    page = show(site.url)
    page.locator("#file").set_input_files(png())
    find(page, HOSTILE)
    assert HOSTILE in page.locator("#answers").inner_text()
    assert page.title() != "owned"


def test_the_policy_runs_no_other_script(show: Any, site: Site) -> None:
    page = show(site.url, allowed="Content Security Policy")
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="document.title = 1">');
        }"""
    )
    page.wait_for_timeout(100)
    assert page.title() == "LiteLVLM Annotate"


def test_what_is_wrong_is_said(show: Any, site: Site) -> None:
    page = show(site.url)
    page.get_by_role("textbox", name="Phrase").fill("cat")
    page.keyboard.press("Enter")
    page.get_by_text("Choose an image first.").wait_for()
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.get_by_text("This browser cannot show that file.").wait_for()


def test_a_token_is_asked_for_and_used(show: Any) -> None:
    site = Site(service(token=TOKEN, num_retain_tokens=16))
    try:
        page = show(site.url, allowed="401")
        page.get_by_label("Token of this service").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.getElementById('rule').options.length")
        page.locator("#file").set_input_files(png())
        find(page, "cat")
        assert page.locator("#error").inner_text() == ""
    finally:
        site.close()


def test_the_api_is_readable_without_scripts(show: Any, site: Site) -> None:
    page = show(site.url, "docs", width=375)
    assert page.evaluate("() => [document.scripts.length, document.documentElement.scrollWidth]") == [0, 375]
    page.get_by_role("link", name="AnnotateRequest").first.click()
    assert page.get_by_role("heading", name="AnnotateRequest").is_visible()
    assert page.get_by_role("rowheader", name="num_retain_tokens").first.is_visible()
