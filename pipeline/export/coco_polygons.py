"""COCO with polygons, for tools that take no run lengths."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

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
        entries: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image in images:
            entries.append(
                {
                    "id": image.id,
                    "file_name": image.file_name,
                    "width": image.width,
                    "height": image.height,
                    "license": 0,
                    "source_id": image.source_id,
                }
            )
            annotations += [self._annotation(image, one, counts) for one in image.objects]
            if image.data is not None:
                files.write(f"images/{image.file_name}", image.data)
        content = {
            "info": {},
            "licenses": [{"id": 0, "name": "", "url": ""}],
            "categories": [one.as_coco() for one in self.classes],
            "images": entries,
            "annotations": annotations,
        }
        files.write(f"annotations/{part}.json", json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n")
        return counts

    def remarks(self, counts: Counter[str]) -> list[str]:
        return [loss_line(counts)]

    def _annotation(self, image: MaskedImage, one: MaskedObject, counts: Counter[str]) -> dict[str, Any]:
        outlines = trace(one.mask, self.tolerance)
        rings = [ring.round(_DECIMALS) for ring in outlines.rings]
        filled = fill(rings, one.mask.size_hw)
        counts.update(losses(one.mask, filled))
        counts["with_holes"] += outlines.has_holes
        return {
            "id": one.id,
            "image_id": image.id,
            "category_id": self.classes[one.class_index].id,
            "segmentation": [ring.ravel().tolist() for ring in rings],
            "area": float(filled.area),
            "bbox": list(map(float, filled.bbox_xywh if filled.area else one.mask.bbox_xywh)),
            "iscrowd": 0,
            "score": one.score,
            "attributes": {"phrase": one.phrase, "source": "auto", "review": "needs_review"},
        }
