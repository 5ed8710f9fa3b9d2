"""Which records are shown, and what their pictures show."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from litelvlm.evaluation.similarity.examples import SIDE_PX, Chooser, heat_map, seen_by_clip
from tests.evaluation.similarity.samples import measured, unmeasured


def chooser(count: int) -> Chooser:
    """After five records whose AUROC rises from 0 to 1."""
    found = Chooser(count)
    found.add(unmeasured("failed"))
    for step in (3, 0, 4, 1, 2):
        scores = [0.0, 2.0, 4.0, 6.0, *[9.0] * 5]
        inside = [0] * 4 + [1] * 5
        values = [scores[place] - (100 if place >= 4 + step + 1 else 0) for place in range(9)]
        found.add(measured(values if step < 4 else scores, inside, image=f"image {step}", phrase=f"phrase {step}"))
    return found


def test_the_ends_and_the_middle_are_shown_in_order() -> None:
    shown = chooser(1).examples(0.6)
    assert [(one.title, one.phrase) for one in shown] == [
        ("lowest", "phrase 0"), ("middle", "phrase 2"), ("highest", "phrase 4"),
    ]  # fmt: skip
    assert [round(one.auroc, 2) for one in shown] == [0.2, 0.6, 1]
    assert chooser(0).examples(0.6) == []


def test_no_record_is_shown_twice() -> None:
    shown = chooser(4).examples(0.6)
    assert sorted(one.phrase for one in shown) == [f"phrase {step}" for step in range(5)]


def test_pictures_have_the_outline_where_the_mask_is() -> None:
    [_, meant, _] = chooser(1).examples(0.6)[0].pictures
    data = base64.b64decode(meant[1].removeprefix("data:image/jpeg;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert pixels.shape == (SIDE_PX, SIDE_PX)
    assert (pixels[:80, :80] < 130).all()  # the first patches are outside
    assert pixels[SIDE_PX // 3 :].max() > 200


def test_heat_goes_from_dark_to_bright() -> None:
    heat = heat_map(np.zeros((4, 4, 3), np.uint8), np.array([0, 1, 2, 4], np.float32))
    brightness = heat.sum(2)
    assert (brightness[:2, :2] == brightness[0, 0]).all()
    assert brightness[0, 0] < brightness[0, 2] < brightness[2, 0] < brightness[2, 2]
    flat = heat_map(np.zeros((4, 4, 3), np.uint8), np.ones(4, np.float32))
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1


def test_clip_sees_the_central_square() -> None:
    mask = np.zeros((4, 8), bool)
    mask[:, :2] = True  # left of the square
    mask[0, 2] = True
    assert np.argwhere(seen_by_clip(mask, 4)).tolist() == [[0, 0]]
