"""Masks in each form, read back."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from litelvlm.pipeline.export.outlines import fill
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.serving.mask_formats import check_format, png, shown_mask

MASK = np.zeros((9, 12), bool)
MASK[2:6, 3:11] = True


def test_every_form_is_the_mask() -> None:
    encoded = encode_mask(MASK)
    check_format("polygon")
    assert shown_mask(encoded, "rle") == {"rle": encoded.as_coco()}
    rings = [np.array(ring).reshape(-1, 2) for ring in shown_mask(encoded, "polygon")["polygon"]]
    assert fill(rings, (9, 12)).counts == encoded.counts
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(encoded)))), MASK * 255)


def test_an_empty_mask_has_no_polygon() -> None:
    assert shown_mask(encode_mask(np.zeros((3, 4), bool)), "polygon") == {"polygon": []}
