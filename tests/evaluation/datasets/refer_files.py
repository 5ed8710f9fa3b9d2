"""RefCOCO and its siblings in the exact form in which they are distributed, made of a few drawn rectangles."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
]
SIZES_HW = {7: (40, 60), 9: (50, 30)}  # image id -> height, width
BOXES = {
    101: (7, 5, 5, 25, 25, 1),
    102: (7, 35, 10, 55, 30, 18),
    103: (9, 2, 3, 20, 40, 1),
}  # image, x0 y0 x1 y1, category


class Python2Pickler(pickle._Pickler):  # the pure Python one, which typeshed knows in part
    """Writes texts as Python 2 wrote its `str`: bytes without an encoding. `refs(unc).p` was written by Python 2."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_text(self: Any, text: str) -> None:
        data = text.encode("latin1")
        if not self.bin:
            self.write(b"S" + repr(data)[1:].encode("ascii") + b"\n")
        elif len(data) < 256:
            self.write(b"U" + bytes([len(data)]) + data)
        else:
            self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = save_text


def python2_pickle(value: Any, protocol: int = 2) -> bytes:
    """A pickle as Python 2 would have written it."""
    file = io.BytesIO()
    Python2Pickler(file, protocol).dump(value)
    return file.getvalue()


def polygon(box: tuple[int, ...]) -> list[float]:
    """The corners of x0, y0, x1, y1 as COCO writes polygons."""
    left, top, right, bottom = box
    return [float(value) for value in (left, top, right, top, right, bottom, left, bottom)]


def file_name(image_id: int) -> str:
    """Of an image of COCO train2014."""
    return f"COCO_train2014_{image_id:012}.jpg"


def annotation(ann_id: int) -> dict[str, Any]:
    """An entry of `instances.json`."""
    image_id, left, top, right, bottom, category = BOXES[ann_id]
    return {
        "segmentation": [polygon((left, top, right, bottom))],
        "area": float((right - left) * (bottom - top)),
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
        "category_id": category,
        "id": ann_id,
    }


def image_entry(image_id: int) -> dict[str, Any]:
    """An image of `instances.json`."""
    height, width = SIZES_HW[image_id]
    return {"license": 1, "file_name": file_name(image_id), "height": height, "width": width, "id": image_id}


def reference(
    ref_id: int, ann_id: Any, split: str, sentences: list[str], *, image_id: int | None = None
) -> dict[str, Any]:
    """An entry of `refs(unc).p`; in gRefCOCO `ann_id` is a list."""
    owner = image_id if image_id is not None else BOXES[ann_id if isinstance(ann_id, int) else ann_id[0]][0]
    first = 10 * ref_id
    stem = file_name(owner).removesuffix(".jpg")
    return {
        "sent_ids": list(range(first, first + len(sentences))),
        "file_name": f"{stem}_{ref_id}.jpg",
        "ann_id": ann_id,
        "ref_id": ref_id,
        "image_id": owner,
        "split": split,
        "sentences": [
            {"tokens": text.split(), "raw": text, "sent_id": first + place, "sent": text}
            for place, text in enumerate(sentences)
        ],
        "category_id": 1,
    }


REFERENCES = [
    reference(1, 101, "val", ["man left", "the guy in red"]),
    reference(2, 102, "val", ["dog"]),
    reference(3, 103, "testA", ["caf\xe9 woman"]),
    reference(4, 101, "train", ["left"]),
]
GENERAL_REFERENCES = [
    reference(1, [101, 102], "val", ["man and dog"]),
    reference(2, [-1], "val", ["the blue car"], image_id=7),
    reference(3, [102], "val", ["dog"]),
]


def write_instances(directory: Path) -> None:
    """`instances.json`."""
    content = {
        "info": {"description": "drawn for tests"},
        "images": [image_entry(image_id) for image_id in SIZES_HW],
        "licenses": [],
        "annotations": [annotation(ann_id) for ann_id in BOXES],
        "categories": CATEGORIES,
    }
    (directory / "instances.json").write_text(json.dumps(content))


def write_refcoco(root: Path, dataset: str = "refcoco", *, protocol: int = 2) -> Path:
    """A data set's directory below `root`."""
    directory = root / dataset
    directory.mkdir(parents=True)
    split_by = "umd" if dataset == "refcocog" else "unc"
    (directory / f"refs({split_by}).p").write_bytes(python2_pickle(REFERENCES, protocol))
    write_instances(directory)
    return directory


def write_grefcoco(root: Path) -> Path:
    """gRefCOCO's directory below `root`."""
    directory = root / "grefcoco"
    directory.mkdir(parents=True)
    (directory / "grefs(unc).json").write_text(json.dumps(GENERAL_REFERENCES))
    write_instances(directory)
    return directory


def write_images(directory: Path) -> None:
    """Train2014's images, with the drawn objects."""
    directory.mkdir(parents=True)
    for image_id in SIZES_HW:
        picture(image_id).save(directory / file_name(image_id), quality=95)


def picture(image_id: int) -> Image.Image:
    """An image with its objects as rectangles."""
    pixels = np.full((*SIZES_HW[image_id], 3), 60, np.uint8)
    for number, (owner, left, top, right, bottom, _) in BOXES.items():
        if owner == image_id:
            pixels[top:bottom, left:right] = (200, 40 * (number % 5), 90)
    return Image.fromarray(pixels)


def true_mask(*ann_ids: int, image_id: int) -> np.ndarray:
    """The union of objects, (H, W) bool."""
    mask = np.zeros(SIZES_HW[image_id], bool)
    for ann_id in ann_ids:
        _, left, top, right, bottom, _ = BOXES[ann_id]
        mask[top:bottom, left:right] = True
    return mask


def read_truth(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a table that a conversion wrote."""
    return pq.read_table(path).to_pylist()
