"""Datumaro's own format: a JSON file a part, which is a subset of its data set."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject


class Datumaro(Format):
    """`annotations/<part>.json` with masks as run lengths, `images/<part>/` on request."""

    unique_stems = True

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        items = []
        for image in images:
            items.append(self._item(image))
            if image.data is not None:
                files.write(f"images/{part}/{image.file_name}", image.data)
        labels = [{"name": one.name, "parent": "", "attributes": []} for one in self.classes]
        content = {
            "info": {},
            "categories": {
                "label": {"labels": labels, "attributes": ["phrase", "record", "score", "source", "review"]}
            },
            "items": items,
        }
        files.write(f"annotations/{part}.json", json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n")
        return Counter()

    def _item(self, image: MaskedImage) -> dict[str, Any]:
        return {
            "id": image.stem,
            "annotations": [self._annotation(one) for one in image.objects],
            "attr": {"id": image.id, "source_id": image.source_id},
            "image": {"path": image.file_name, "size": [image.height, image.width]},
        }

    def _annotation(self, one: MaskedObject) -> dict[str, Any]:
        return {
            "id": one.id,
            "type": "mask",
            "attributes": one.attributes | {"score": one.score, "source": "auto", "review": "needs_review"},
            "group": one.id,
            "label_id": one.class_index,
            "rle": {"counts": one.mask.counts, "size": list(one.mask.size_hw)},
            "z_order": 0,
        }
