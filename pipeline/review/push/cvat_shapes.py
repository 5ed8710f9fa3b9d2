"""Masks as CVAT's own API has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.masks import EncodedMask, decode_mask


def mask_points(mask: NDArray[np.bool_], bbox_xywh: tuple[float, float, float, float]) -> list[float]:
    """Runs of the box of an (H, W) mask row by row, of zeros first, and its sides: left, top, right and bottom, all
    inclusive, in pixels. What `cvat_sdk.masks.decode_mask` reads."""
    left, top, width, height = map(int, bbox_xywh)
    flat = np.ascontiguousarray(mask[top : top + height, left : left + width]).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(changes, prepend=0, append=flat.size).tolist()
    numbers = ([0] if flat[0] else []) + runs + [left, top, left + width - 1, top + height - 1]
    return [float(one) for one in numbers]


def shape_of(annotation: Mapping[str, Any], frame: int, label: Any) -> dict[str, Any]:
    """Arguments of a `LabeledShapeRequest` for an annotation of an exported COCO file; `label` is the project's, as
    the SDK has it. Attributes that the label does not declare are left out, as CVAT would.

    Raises ValueError as `decode_mask` does.
    """
    size = tuple(annotation["segmentation"]["size"])
    mask = EncodedMask(
        size_hw=(size[0], size[1]),
        counts=annotation["segmentation"]["counts"],
        area=int(annotation["area"]),
        bbox_xywh=tuple(annotation["bbox"]),
    )
    values = dict(annotation["attributes"]) | {"score": annotation["score"]}
    return {
        "type": "mask",
        "frame": frame,
        "label_id": label.id,
        "points": mask_points(decode_mask(mask), mask.bbox_xywh),
        "score": float(annotation["score"]),
        "source": "auto",
        "attributes": [
            {"spec_id": one.id, "value": str(values[one.name])} for one in label.attributes if one.name in values
        ],
    }
