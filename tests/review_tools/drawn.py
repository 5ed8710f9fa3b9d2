"""Two images with masks that formats stumble over, and phrases that pages stumble over."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject, UnmaskedPhrase
from litelvlm.pipeline.masks import encode_mask

SIZE_HW = (120, 161)
PHRASES = ("<b>red</b> circle<img src=x onerror=alert(1)>", "blue square", "blue square", "corner & dots, =1+1")


def shapes() -> list[np.ndarray]:
    """Four (H, W) bool masks: a disk with a hole, a square twice, pixels apart that touch two corners."""
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    far = (x - 45) ** 2 + (y - 55) ** 2
    square = (x > 95) & (x < 140) & (y > 30) & (y < 85)
    dots = np.zeros(SIZE_HW, bool)
    dots[[0, -1, 100], [0, -1, 7]] = True
    return [(far < 25**2) & (far > 8**2), square, square & (y > 31), dots]


def picture() -> np.ndarray:
    """The (H, W, 3) uint8 image of these."""
    rgb = np.full((*SIZE_HW, 3), 230, np.uint8)
    ring, square, _, _ = shapes()
    rgb[ring], rgb[square] = (220, 30, 30), (30, 60, 220)
    return rgb


def masked_images(count: int = 2, url: str | None = None) -> list[MaskedImage]:
    """Images `a/0.png`, `a/1.png`, … of ids `id 0`, …, four masks and a phrase without each; `url` is their folder."""
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "PNG")
    return [_image(number, stream.getvalue(), url) for number in range(count)]


def _image(number: int, data: bytes, url: str | None) -> MaskedImage:
    found = [
        MaskedObject(
            id=10 * number + place + 1, class_index=place % 2, mask=encode_mask(mask), phrase=phrase,
            score=round(0.9 - 0.2 * place, 6), record=record_of(number, place),
        )
        for place, (mask, phrase) in enumerate(zip(shapes(), PHRASES, strict=True))
    ]  # fmt: skip
    return MaskedImage(
        id=number + 1, source_id=f"id {number}", file_name=f"a/{number}.png", height=SIZE_HW[0], width=SIZE_HW[1],
        objects=found, data=data, url=url and f"{url}/{number}.png",
        unmasked=[UnmaskedPhrase(phrase="green <i>star</i>", record=record_of(number, 4), status="empty")],
    )  # fmt: skip


def record_of(number: int, place: int) -> str:
    """Key of a record of these images."""
    return f"{number:016x}-{place}"
