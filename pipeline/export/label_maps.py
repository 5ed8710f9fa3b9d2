"""Masks painted into maps: every pixel has the number of a class, or of an object."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.run_images import MaskedImage
from litelvlm.pipeline.masks import decode_mask

Map = NDArray[np.uint16]


def paint(image: MaskedImage, counts: Counter[str]) -> tuple[Map, Map]:
    """Maps of classes and of objects, (H, W): the place of the class, or of the object in the image, from 1; 0 is none.

    Where masks overlap the one with the better score is on top, of equals the earlier. What lies below is counted.
    """
    classes, objects = (np.zeros((image.height, image.width), np.uint16) for _ in range(2))
    for index in sorted(range(len(image.objects)), key=lambda at: (image.objects[at].score, -at)):
        one = image.objects[index]
        inside = decode_mask(one.mask)
        counts["area"] += one.mask.area
        counts["hidden"] += int((objects[inside] > 0).sum())
        classes[inside], objects[inside] = one.class_index + 1, index + 1
    return classes, objects


def hidden_line(counts: Counter[str]) -> list[str]:
    """What overlaps cost, in a line; none where nothing does."""
    if not counts["hidden"]:
        return []
    share = counts["hidden"] / max(counts["area"], 1)
    return [f"masks overlap: {share:.2%} of their area lies below a mask with a better score, and is lost"]


def encode_map(values: Map) -> bytes:
    """A grey PNG of 8 bits, of 16 where there are numbers above 255."""
    buffer = io.BytesIO()
    Image.fromarray(values if values.max(initial=0) > 255 else values.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class LabelMaps(Format):
    """`classes/**.png`, `objects/**.png` and `labels.json`, which says what the numbers mean."""

    unique_stems = True

    def check(self) -> None:
        if max(one.id for one in self.classes) > np.iinfo(np.uint16).max:
            raise ValueError("label maps have 16 bits a pixel: a class has an id above 65535")

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        counts: Counter[str] = Counter()
        ids = np.array([0, *(one.id for one in self.classes)], np.uint16)
        for image in images:
            classes, objects = paint(image, counts)
            files.write(f"classes/{image.stem}.png", encode_map(ids[classes]))
            files.write(f"objects/{image.stem}.png", encode_map(objects))
            if image.data is not None:
                files.write(f"images/{image.file_name}", image.data)
        return counts

    def finish(self, parts: list[str], files: Files) -> None:
        names = {"0": "background"} | {str(one.id): one.name for one in self.classes}
        files.write("labels.json", json.dumps(names, indent=1, ensure_ascii=False).encode() + b"\n")

    def remarks(self, counts: Counter[str]) -> list[str]:
        return hidden_line(counts)
