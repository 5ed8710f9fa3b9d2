"""Masks in the form that a client asks for."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from litelvlm.pipeline.export.outlines import check_installed, trace
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.serving.errors import Refusal

FORMATS = ("rle", "polygon", "png")


def check_format(name: str) -> None:
    """Raises Refusal where what makes this format is not installed."""
    if name == "polygon":
        try:
            check_installed()
        except ValueError as error:
            raise Refusal(501, "not_installed", str(error), "format") from None


def shown_mask(mask: EncodedMask, form: str) -> dict[str, Any]:
    """The mask under the name of its form: `rle`, `polygon` or `png`."""
    if form == "polygon":
        return {"polygon": [ring.ravel().tolist() for ring in trace(mask, 0.0).rings]}
    if form == "png":
        return {"png": base64.b64encode(png(mask)).decode("ascii")}
    return {"rle": mask.as_coco()}


def png(mask: EncodedMask) -> bytes:
    """A grey PNG of the whole image: 255 inside, 0 outside."""
    buffer = io.BytesIO()
    Image.fromarray(decode_mask(mask).astype(np.uint8) * 255).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
