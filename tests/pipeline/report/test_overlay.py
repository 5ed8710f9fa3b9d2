"""Contact sheets show the image, the masks where they are, and captions that fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.report.overlay import OverlayItem, colour_of, draw_masks, draw_sheet, render_sheet, visible
from litelvlm.pipeline.report.overlay import _font as font
from litelvlm.pipeline.report.overlay import _wrap as wrap

GREY = np.full((100, 200, 3), 128, np.uint8)


def _box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((100, 200), bool)
    mask[top:bottom, left:right] = True
    return mask


def _item(phrases: Any = ("the left box", "the right box"), **changes: Any) -> OverlayItem:
    masks = [_box(20, 80, 20, 80), _box(20, 80, 120, 180)]
    fields = {"rgb": GREY, "masks": masks, "phrases": phrases, "scores": [0.9, None], "title": "a.jpg"}
    return OverlayItem(**{**fields, **changes})


def test_masks_are_filled_outlined_and_nothing_else_changes() -> None:
    drawn = np.asarray(draw_masks(_item(), 200)).astype(int)
    assert drawn.shape == (100, 200, 3)
    for index, column in ((0, 50), (1, 150)):
        fill, colour = drawn[50, column], np.array(colour_of(index))
        assert np.allclose(fill, 0.55 * 128 + 0.45 * colour, atol=1)
        assert tuple(drawn[20, column]) == tuple(drawn[21, column]) == colour_of(index)
        assert tuple(drawn[19, column]) == (0, 0, 0)
    assert (drawn[:, 90:110] == 128).all()
    assert (drawn[:10] == 128).all()


def test_truths_are_white_outlines() -> None:
    drawn = np.asarray(draw_masks(_item(masks=[], truths=[_box(20, 80, 20, 80), None]), 200))
    assert tuple(drawn[20, 50]) == (255, 255, 255)
    assert tuple(drawn[50, 50]) == (128, 128, 128)


def test_a_mask_of_one_pixel_in_a_large_image_stays_visible() -> None:
    rgb = np.full((2000, 3000, 3), 128, np.uint8)
    mask = np.zeros((2000, 3000), bool)
    mask[1000, 1500] = True
    drawn = np.asarray(draw_masks(OverlayItem(rgb=rgb, masks=[mask], phrases=["x"], scores=[0.1]), 320))
    assert drawn.shape == (213, 320, 3)
    assert (drawn == colour_of(0)).all(axis=-1).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 1), (2, 2)])
def test_odd_shapes(height: int, width: int) -> None:
    masks = [np.ones((height, width), bool), np.zeros((height, width), bool)]
    item = OverlayItem(rgb=np.zeros((height, width, 3), np.uint8), masks=masks, phrases=["a", "b"], scores=[1, 0])
    assert max(draw_masks(item, 128).size) == 128


def test_a_sheet_is_a_png_with_a_tile_for_each_item(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    draw_sheet([_item()] * 5, str(path), columns=3, tile=200)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == 3 * 214 + 14
        pixels = np.asarray(sheet.convert("RGB"))
    first = tmp_path / "again.png"
    draw_sheet([_item()] * 5, str(first), columns=3, tile=200)
    assert first.read_bytes() == path.read_bytes()
    middles = [(14 + 100, 14 + index * 214 + 50) for index in range(3)]
    assert all(tuple(pixels[place]) not in ((255, 255, 255), (238, 238, 238)) for place in middles)


def test_captions_carry_the_colour_of_their_mask_and_grow_the_tile() -> None:
    short = np.asarray(render_sheet([_item()], tile=200))
    long = np.asarray(render_sheet([_item(phrases=("word " * 40, "b"))], tile=200))
    assert long.shape[0] > short.shape[0]
    captions = short[14 + 200 :]
    for index in (0, 1):
        assert (captions == colour_of(index)).all(axis=-1).sum() > 50
    assert (captions.sum(axis=-1) < 200).sum() > 100


def test_wrapping_fits_the_width_and_keeps_the_words() -> None:
    text = "the small red circle left of the blue square and above everything else"
    lines = wrap(text, 150, font(), max_lines=20)
    assert " ".join(lines) == text
    assert all(font().getlength(line) <= 150 for line in lines)
    cut = wrap("x" * 500, 150, font(), max_lines=3)
    assert len(cut) == 3
    assert cut[-1].endswith("…")
    assert all(font().getlength(line) <= 150 for line in cut)
    assert wrap("  ", 150, font(), max_lines=3) == [""]


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert visible("a\0b\u202ec\nd\u200be") == "a\\u0000b\\u202ec\\u000ad\\u200be"
    assert len(visible("x" * 10_000_000)) == 1000
    assert visible("e" + "\u0301" * 500 + "x\u0301") == "e\u0301\u0301\u0301x\u0301"
    render_sheet([_item(phrases=("\0\u202e\ud800\n" * 50, "עברית 漢字 👩\u200d🚀"))], tile=128)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="items"):
        render_sheet([])
    with pytest.raises(ValueError, match="columns, tile"):
        render_sheet([_item()], columns=0)
    with pytest.raises(ValueError, match="zip"):
        render_sheet([_item(phrases=("one",))])
