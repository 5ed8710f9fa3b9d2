"""Pictures of a run: whole images with all phrases, what was not found, what failed; nothing of it is alive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.report.examples import MAX_ANSWERS
from litelvlm.pipeline.report.galleries import draw_pictures
from litelvlm.pipeline.report.overlay import COLOURS
from litelvlm.pipeline.report.write import gather_facts, render
from tests.fakes import BAD_PHRASE, EMPTY_PHRASE, FakeEngine, true_mask
from tests.pipeline.report.report_runs import HOSTILE, make_output
from tests.pipeline.report.test_pictures import decoded
from tests.pipeline.report.test_write import parse, text_of
from tests.pipeline.samples import picture, row

Drawn = tuple[dict[str, list[dict[str, Any]]], str]  # the pictures, and the page
MANY = [f"thing {number}" for number in range(40)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    rows = [row(0, "aa", "bbb", EMPTY_PHRASE), row(1, EMPTY_PHRASE), row(2, *HOSTILE), row(3, *MANY), row(4, "aa")]
    rows += [row(5, image=b"<html><script>alert(1)</script>"), row(6, BAD_PHRASE)]
    storage, config = make_output(tmp_path_factory.mktemp("run"), rows, engine=FakeEngine(break_on=BAD_PHRASE))
    facts = gather_facts(storage, config)
    pictures = draw_pictures(facts, storage, uri_policy(config))
    return pictures, render(facts, pictures, title="a run")


def test_an_image_is_shown_with_all_of_its_masks_and_phrases(
    page: Drawn,
) -> None:
    whole = {str(one["origin"]): one for one in page[0]["whole"]}
    assert set(whole) >= {"image-0000", "image-0002", "image-0003"}
    one = whole["image-0000"]
    assert [(phrase, bool(colour)) for colour, phrase, _ in one["answers"]] == [
        ("aa", True), ("bbb", True), (EMPTY_PHRASE, False),
    ]  # fmt: skip
    assert one["figure"] == "2 of 3 phrases have a mask"
    pixels = decoded(str(one["uri"]))
    for place, phrase in enumerate(("aa", "bbb")):
        mask = true_mask(picture(0), phrase) & ~true_mask(picture(0), ("bbb", "aa")[place])
        y, x = (int(np.median(axis)) for axis in np.nonzero(mask))
        scale = pixels.shape[1] / 32
        spot = pixels[int((y + 0.5) * scale), int((x + 0.5) * scale)]
        tinted = 0.55 * picture(0)[y, x] + 0.45 * np.array(COLOURS[place])
        assert np.abs(spot - tinted).max() < 40
    many = whole["image-0003"]
    assert len(many["answers"]) == MAX_ANSWERS
    assert many["figure"] == f"the first {MAX_ANSWERS} of 40 phrases"


def test_what_is_empty_or_failed_is_shown(page: Drawn) -> None:
    pictures, _ = page
    assert [one["origin"] for one in pictures["empty"]] == ["image-0000", "image-0001"]
    assert all(one["uri"] for one in pictures["empty"])
    failed = {str(one["origin"]).rsplit(" · ", 1)[1]: one for one in pictures["failed"]}
    assert set(failed) >= {"image-0005", "image-0006"}
    assert failed["image-0006"]["uri"]
    assert not failed["image-0005"]["uri"]
    assert "a web page" in str(failed["image-0005"]["origin"])


def test_nothing_of_it_is_alive(page: Drawn) -> None:
    tree = parse(page[1])
    assert not [one for one in tree.iter() if str(one.tag).endswith("}script")]
    assert all(
        str(one.get("src")).startswith("data:image/jpeg") for one in tree.iter() if str(one.tag).endswith("}img")
    )
    said = text_of(page[1])
    assert "The same images with everything that was asked" in said
    assert HOSTILE[0] in said
    assert len(page[1]) < 36 * 80_000 + 200_000
