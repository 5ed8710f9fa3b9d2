"""COCO with polygons, for tools that take no run lengths."""

from __future__ import annotations

from collections import Counter
from typing import Any

from litelvlm.pipeline.export.coco_entries import annotation_entry, coco_file, image_entry
from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.outlines import check_installed, fill, loss_line, losses, trace
from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject

_DECIMALS = 2


class CocoPolygons(Format):
    """`annotations/part-*.json` with the ids of the run's own, `images/` on request."""

    def check(self) -> None:
        check_installed()

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        counts: Counter[str] = Counter()
        entries, annotations = [], []
        for image in images:
            entries.append(image_entry(image))
            annotations += [self._annotation(image, one, counts) for one in image.objects]
            if image.data is not None:
                files.write(f"images/{image.file_name}", image.data)
        files.write(f"annotations/{part}.json", coco_file(self.classes, entries, annotations))
        return counts

    def remarks(self, counts: Counter[str]) -> list[str]:
        return [loss_line(counts)]

    def _annotation(self, image: MaskedImage, one: MaskedObject, counts: Counter[str]) -> dict[str, Any]:
        outlines = trace(one.mask, self.tolerance)
        rings = [ring.round(_DECIMALS) for ring in outlines.rings]
        filled = fill(rings, one.mask.size_hw)
        counts.update(losses(one.mask, filled))
        counts["with_holes"] += outlines.has_holes
        return annotation_entry(self.classes, image, one) | {
            "segmentation": [ring.ravel().tolist() for ring in rings],
            "area": float(filled.area),
            "bbox": list(map(float, filled.bbox_xywh if filled.area else one.mask.bbox_xywh)),
        }
