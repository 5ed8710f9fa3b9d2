"""Ultralytics' YOLO for segmentation: a text file an image, a line an object: its class and one polygon."""

from __future__ import annotations

from collections import Counter

import yaml

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.outlines import (
    check_installed,
    fill,
    loss_line,
    losses,
    one_ring,
    trace,
)
from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject


class YoloSeg(Format):
    """`labels/**.txt`, `data.yaml`, `images/` on request. An object in pieces is one polygon with bridges."""

    unique_stems = True

    def check(self) -> None:
        check_installed()

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        counts: Counter[str] = Counter()
        for image in images:
            lines = [self._line(image, one, counts) for one in image.objects]
            files.write(f"labels/{image.stem}.txt", "".join(lines).encode("ascii"))
            if image.data is not None:
                files.write(f"images/{image.file_name}", image.data)
        return counts

    def finish(self, parts: list[str], files: Files) -> None:
        names = {index: one.name for index, one in enumerate(self.classes)}
        described = {"path": ".", "train": "images", "val": "images", "names": names}
        text = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
        files.write("data.yaml", text.encode())

    def remarks(self, counts: Counter[str]) -> list[str]:
        pieces = f"{counts['in_pieces']} objects in pieces are one polygon each, with bridges between the pieces"
        return [loss_line(counts), *([pieces] if counts["in_pieces"] else [])]

    def _line(self, image: MaskedImage, one: MaskedObject, counts: Counter[str]) -> str:
        rings, holes = trace(one.mask, self.tolerance)
        ring = one_ring(rings)
        counts.update(losses(one.mask, fill([ring], one.mask.size_hw)))
        counts["with_holes"] += holes
        counts["in_pieces"] += len(rings) > 1 and not holes
        points = (ring / (image.width, image.height)).ravel()
        return f"{one.class_index} {' '.join(f'{value:.6f}' for value in points)}\n"
