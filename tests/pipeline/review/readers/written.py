"""Files as review tools write them, made of masks: an image of `SIZE` named `a/b c.png` with a region for each mask."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litelvlm.pipeline.masks import encode_mask, run_lengths
from litelvlm.pipeline.review.readers.brush import encode_brush

Mask = NDArray[np.bool_]
SIZE = (23, 31)
NAME = "a/b c.png"
KEYS = [f"{number:016x}-{number}" for number in range(100)]


def masks() -> list[Mask]:
    """Blobs with holes, single pixels, the whole image, borders, noise; none empty."""
    random = np.random.default_rng(5)
    height, width = SIZE
    rows, columns = np.ogrid[:height, :width]
    ring = (rows - 11) ** 2 + (columns - 15) ** 2
    pixel, corner, border = (np.zeros(SIZE, bool) for _ in range(3))
    pixel[7, 9] = corner[-1, -1] = corner[0, 0] = border[0] = border[:, -1] = True
    noise = [random.random(SIZE) < share for share in (0.03, 0.5, 0.97)]
    return [(ring < 90) & (ring > 20), np.ones(SIZE, bool), pixel, corner, border, *noise]


def crop_runs(mask: Mask) -> tuple[list[int], tuple[int, int, int, int]]:
    """Run lengths along the rows of a mask's box, and the box as left, top, width and height."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])
    inside = mask[top : bottom + 1, left : right + 1]
    return run_lengths(inside.T).tolist(), (left, top, right - left + 1, bottom - top + 1)


def label_studio_region(index: int, mask: Mask) -> dict[str, Any]:
    return {
        "id": KEYS[index],
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "origin": "prediction",
        "score": 0.5,
        "original_width": mask.shape[1],
        "original_height": mask.shape[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [f"phrase {index}"]},
    }


def label_studio_task(found: list[Mask], **annotation: Any) -> dict[str, Any]:
    results = [label_studio_region(index, mask) for index, mask in enumerate(found)]
    text: dict[str, Any] = {"id": KEYS[0], "type": "textarea", "from_name": "phrase", "to_name": "image"}
    text["value"] = {"text": ["phrase 0"], "rle": [1, 2, 3]}  # it repeats what the region has
    return {
        "id": 7,
        "data": {"image": "s3://bucket/a/b%20c.png", "file_name": NAME, "image_id": "row 1", "records": KEYS[:9]},
        "annotations": [
            {
                "id": 70,
                "completed_by": {"id": 1, "email": "ann@example.org"},
                "was_cancelled": False,
                "created_at": "2026-11-01T10:00:00.000000Z",
                "updated_at": "2026-11-01T10:05:00.000000Z",
                "lead_time": 12.5,
                "result": [*results, text],
            }
            | annotation
        ],
        "predictions": [1],
    }


def coco(found: list[Mask], *, compressed: bool = False) -> dict[str, Any]:
    """As CVAT writes it, masks as uncompressed run lengths with `iscrowd` 1, or compressed."""
    annotations = []
    for index, mask in enumerate(found):
        counts: Any = encode_mask(mask).counts if compressed else run_lengths(mask).tolist()
        annotations.append(
            {
                "id": index + 1,
                "image_id": 1,
                "category_id": 2,
                "segmentation": {"size": list(SIZE), "counts": counts},
                "iscrowd": 0 if compressed else 1,
                "attributes": {"record": KEYS[index], "phrase": f"phrase {index}", "score": 0.5, "review": "accepted"},
            }
        )
    return {
        "info": {},
        "licenses": [],
        "categories": [{"id": 2, "name": "thing"}],
        "images": [{"id": 1, "file_name": NAME, "height": SIZE[0], "width": SIZE[1], "source_id": "row 1"}],
        "annotations": annotations,
    }


def cvat_xml(found: list[Mask]) -> bytes:
    shapes = []
    for index, mask in enumerate(found):
        runs, (left, top, width, height) = crop_runs(mask)
        shapes.append(
            f'<mask label="thing" source="file" occluded="0" rle="{str(runs)[1:-1]}" left="{left}" top="{top}" '
            f'width="{width}" height="{height}" z_order="0"><attribute name="record">{KEYS[index]}</attribute>'
            f'<attribute name="phrase">phrase {index}</attribute><attribute name="score">0.5</attribute>'
            '<attribute name="review">accepted</attribute></mask>'
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><id>3</id>'
        "<assignee><username>ann</username><email></email></assignee></task>"
        "<dumped>2026-11-01 10:05:00.000000+00:00</dumped></meta>"
        f'<image id="0" name="{NAME}" width="{SIZE[1]}" height="{SIZE[0]}">{"".join(shapes)}</image></annotations>'
    ).encode()


def cvat_shape(index: int, mask: Mask) -> dict[str, Any]:
    runs, (left, top, width, height) = crop_runs(mask)
    return {
        "type": "mask",
        "frame": 0,
        "label": "thing",
        "source": "file",
        "score": 1.0,
        "points": [float(one) for one in (*runs, left, top, left + width - 1, top + height - 1)],
        "attributes": [
            {"name": "record", "value": KEYS[index]},
            {"name": "phrase", "value": f"phrase {index}"},
            {"name": "score", "value": "0.5"},
            {"name": "review", "value": "accepted"},
        ],
    }


def cvat_backup(found: list[Mask], **data: Any) -> dict[str, bytes]:
    """Members of a task's backup."""
    task = {
        "name": "t",
        "version": "1.0",
        "labels": [{"name": "thing", "attributes": [{"name": "record"}]}],
        "data": {"start_frame": 0, "stop_frame": 1, "deleted_frames": []} | data,
        "jobs": [{"start_frame": 0, "stop_frame": 1, "frames": [], "type": "annotation", "status": "completed"}],
    }
    jobs = [{"version": 0, "tags": [], "tracks": [], "shapes": [cvat_shape(*each) for each in enumerate(found)]}]
    lines = [
        {"version": "1.1"},
        {"type": "images"},
        {"name": "a/b c", "extension": ".png", "width": SIZE[1], "height": SIZE[0], "meta": {}},
        {"name": "next", "extension": ".png", "width": 4, "height": 3},
    ]
    return {
        "task.json": json.dumps(task).encode(),
        "annotations.json": json.dumps(jobs).encode(),
        "data/manifest.jsonl": "\n".join(map(json.dumps, lines)).encode(),
    }


def cvat_shapes(found: list[Mask]) -> dict[str, Any]:
    """What cvat-sdk gives of a task."""
    specs = {"record": 11, "phrase": 12, "score": 13, "review": 14}
    shapes = [cvat_shape(*each) for each in enumerate(found)]
    for shape in shapes:
        del shape["label"]
        shape["label_id"] = 5
        shape["attributes"] = [{"spec_id": specs[one["name"]], "value": one["value"]} for one in shape["attributes"]]
    return {
        "frames": [{"name": NAME, "width": SIZE[1], "height": SIZE[0]}],
        "labels": [{"id": 5, "name": "thing", "attributes": [{"id": n, "name": name} for name, n in specs.items()]}],
        "shapes": shapes,
    }


def datumaro(found: list[Mask]) -> dict[str, Any]:
    annotations = [
        {
            "id": index,
            "type": "mask",
            "attributes": {"record": KEYS[index], "phrase": f"phrase {index}", "score": 0.5, "review": "accepted"},
            "group": 0,
            "label_id": 0,
            "rle": {"counts": encode_mask(mask).counts, "size": list(SIZE)},
            "z_order": 0,
        }
        for index, mask in enumerate(found)
    ]
    return {
        "info": {},
        "categories": {"label": {"labels": [{"name": "thing", "parent": "", "attributes": []}], "attributes": []}},
        "items": [
            {
                "id": "a/b c",
                "annotations": annotations,
                "attr": {"id": 1, "source_id": "row 1"},
                "image": {"path": NAME, "size": list(SIZE)},
            }
        ],
    }


def packed_array(array: NDArray[Any]) -> dict[str, Any]:
    """As MongoDB's JSON has an array of FiftyOne's."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(stream.getvalue())).decode(), "subType": "00"}}


def fiftyone(found: list[Mask]) -> dict[str, Any]:
    detections = []
    for index, mask in enumerate(found):
        _, (left, top, width, height) = crop_runs(mask)
        detections.append(
            {
                "_id": {"$oid": f"{index:024x}"},
                "_cls": "Detection",
                "attributes": {"record": KEYS[index]},
                "phrase": f"phrase {index}",
                "tags": ["accepted"],
                "label": "thing",
                "bounding_box": [left / SIZE[1], top / SIZE[0], width / SIZE[1], height / SIZE[0]],
                "mask": packed_array(mask[top : top + height, left : left + width]),
                "confidence": 0.5,
            }
        )
    sample = {
        "_id": {"$oid": "f" * 24},
        "filepath": f"data/{NAME}",
        "tags": [],
        "source_id": "row 1",
        "metadata": {"_cls": "ImageMetadata", "width": SIZE[1], "height": SIZE[0], "num_channels": 3},
        "boxes": {"_cls": "Detections", "detections": [{"_cls": "Detection", "bounding_box": [0, 0, 1, 1]}]},
        "reviewed": {"_cls": "Detections", "detections": detections},
    }
    return {"samples": [sample]}


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def png(levels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    return stream.getvalue()


def files(found: list[Mask]) -> dict[str, tuple[str, bytes]]:
    """A whole file of every format: its name and its bytes."""
    return {
        "label-studio": ("export.json", json.dumps([label_studio_task(found)]).encode()),
        "cvat-xml": ("annotations.xml", cvat_xml(found)),
        "cvat-backup": ("backup.zip", zipped(cvat_backup(found))),
        "cvat-shapes": ("shapes.json", json.dumps(cvat_shapes(found)).encode()),
        "coco": ("instances_default.json", json.dumps(coco(found)).encode()),
        "datumaro": ("default.json", json.dumps(datumaro(found)).encode()),
        "fiftyone": ("samples.json", json.dumps(fiftyone(found)).encode()),
    }
