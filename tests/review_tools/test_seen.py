"""A browser looks at Label Studio: the mask lies on its object, its phrase is text, submitting gives the same mask."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject
from litelvlm.pipeline.masks import decode_mask, encode_mask
from litelvlm.pipeline.ontology import OBJECT
from litelvlm.pipeline.review.formats.label_studio import LabelStudio
from litelvlm.pipeline.review.push.label_studio import push
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import png
from tests.review_tools.test_label_studio import project_of, reviews_of, tasks_of
from tests.review_tools.tools import PASSWORD, USER

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.review_tools

SIZE_HW = (300, 400)
GREY, BLUE = (128, 128, 128), (40, 70, 210)
PHRASE = "the <b>L</b><img src=x onerror=\"document.title='owned'\">"
RECORD = "0123456789abcdef-0"


def mask() -> np.ndarray:
    """An (H, W) bool L, left of the tools that Label Studio lays over an image."""
    found = np.zeros(SIZE_HW, bool)
    found[60:240, 80:140] = True
    found[190:240, 80:280] = True
    return found


def exported(root: Path) -> Storage:
    """A grey image with a blue L and its mask."""
    rgb = np.full((*SIZE_HW, 3), GREY, np.uint8)
    rgb[mask()] = BLUE
    one = MaskedObject(id=1, class_index=0, mask=encode_mask(mask()), phrase=PHRASE, score=0.9, record=RECORD)
    image = MaskedImage(
        id=1, source_id="drawn", file_name="drawn.png", height=SIZE_HW[0], width=SIZE_HW[1], objects=[one],
        data=png(rgb),
    )  # fmt: skip
    storage, written = Storage(str(root)), LabelStudio((OBJECT,), with_images=True)
    with Files(storage) as files:
        written.write("part-00000", [image], files)
        written.finish(["part-00000"], files)
    return storage


def task_page(browser: Browser, server: str, project: int, task: int) -> Page:
    """A task as a reviewer sees it who has logged in."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.on("dialog", lambda dialog: pytest.fail(f"the page opens a dialog: {dialog.message}"))
    page.goto(f"{server}/user/login/")
    page.fill("input[name=email]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url(lambda url: "/login" not in url)
    page.goto(f"{server}/projects/{project}/data?task={task}")
    page.wait_for_selector(".konvajs-content canvas", timeout=120_000)
    return page


def on_screen(page: Page, picture: Path) -> np.ndarray:
    """(H, W, 3) pixels of the image as it is shown, left of the tools, once they stay as they are."""
    canvas, before = page.locator(".konvajs-content").first, b""
    for _ in range(60):
        page.wait_for_timeout(1_000)
        data = canvas.screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        if data == before and not near(pixels, GREY).all():
            break
        before = data
    picture.write_bytes(data)
    return pixels[:, : int(0.8 * pixels.shape[1])]


def near(pixels: np.ndarray, colour: Sequence[float]) -> np.ndarray:
    """Which pixels have a colour."""
    return np.abs(pixels - np.asarray(colour)).max(axis=-1) <= 12


def test_the_mask_lies_on_its_object(client: Any, server: str, browser: Browser, tmp_path: Path) -> None:
    push(server, exported(tmp_path / "out"), "seen", lambda _: None)
    (task,) = tasks_of(client, "seen")
    page = task_page(browser, server, project_of(client, "seen").id, task.id)
    pixels = on_screen(page, tmp_path / "canvas.png")
    page.screenshot(path=tmp_path / "page.png")
    grey = near(pixels, GREY)
    tinted = np.median(pixels[~grey], axis=0)
    assert np.abs(tinted - BLUE).max() > 30, "the object has the mask's colour over its own"
    assert 0.15 < near(pixels, tinted).mean() < 0.5
    assert near(pixels, BLUE).mean() < 0.002, "no part of the object is without the mask"
    assert (grey | near(pixels, tinted)).mean() > 0.985, "nor is any of the mask beside the object, but for its rim"
    assert PHRASE in page.inner_text("body")
    assert page.title() != "owned"
    page.get_by_role("button", name="Submit").click()
    page.wait_for_timeout(3_000)
    page.close()
    (review,) = reviews_of(client, "seen", tmp_path / "export.json")["drawn"].reviews
    (region,) = review.regions
    np.testing.assert_array_equal(decode_mask(region.mask), mask())
    assert (region.record, region.phrase) == (RECORD, PHRASE)
    assert review.reviewer, "who submitted it is told"
