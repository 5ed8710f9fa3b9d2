"""Entries of COCO files, with the ids and the attributes of the run's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject
from litelvlm.pipeline.ontology import Category


def coco_file(
    classes: Sequence[Category], images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]]
) -> bytes:
    """A whole file."""
    content = {
        "info": {},
        "licenses": [{"id": 0, "name": "", "url": ""}],
        "categories": [one.as_coco() for one in classes],
        "images": images,
        "annotations": annotations,
    }
    return json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"


def image_entry(image: MaskedImage) -> dict[str, Any]:
    """An entry of `images`."""
    return {
        "id": image.id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
        "license": 0,
        "source_id": image.source_id,
    }


def annotation_entry(classes: Sequence[Category], image: MaskedImage, one: MaskedObject) -> dict[str, Any]:
    """An entry of `annotations`, its mask as run lengths."""
    return {
        "id": one.id,
        "image_id": image.id,
        "category_id": classes[one.class_index].id,
        "segmentation": one.mask.as_coco(),
        "area": float(one.mask.area),
        "bbox": list(map(float, one.mask.bbox_xywh)),
        "iscrowd": 0,
        "score": one.score,
        "attributes": one.attributes | {"source": "auto", "review": "needs_review"},
    }
