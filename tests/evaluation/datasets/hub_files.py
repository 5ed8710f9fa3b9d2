"""Rows of the published Parquet layouts, with the columns and types that their dataset cards declare."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.masks import encode_mask
from tests.evaluation.datasets.refer_files import BOXES, annotation, file_name, image_entry, picture, polygon, true_mask

Row = dict[str, Any]

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LMMS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("image", IMAGE),
        ("question", pa.string()),
        ("answer", pa.list_(pa.string())),
        ("segmentation", pa.list_(pa.float32())),
        ("bbox", pa.list_(pa.float32())),
        ("iscrowd", pa.int8()),
        ("file_name", pa.string()),
    ]
)
SENTENCE = pa.struct(
    [("raw", pa.string()), ("sent", pa.string()), ("sent_id", pa.int64()), ("tokens", pa.list_(pa.string()))]
)
JXU_SCHEMA = pa.schema(
    [
        ("sent_ids", pa.list_(pa.int64())),
        ("file_name", pa.string()),
        ("ann_id", pa.int64()),
        ("ref_id", pa.int64()),
        ("image_id", pa.int64()),
        ("split", pa.string()),
        ("sentences", pa.list_(SENTENCE)),
        ("category_id", pa.int64()),
        ("raw_anns", pa.string()),
        ("raw_image_info", pa.string()),
        ("raw_sentences", pa.string()),
        ("image_path", pa.string()),
        ("bbox", pa.list_(pa.float64())),
        ("captions", pa.list_(pa.string())),
        ("global_image_id", pa.string()),
        ("anns_id", pa.string()),
    ]
)
SAMPLE = pa.struct(
    [
        ("id", pa.int64()),
        ("image_id", pa.int64()),
        ("category", pa.string()),
        ("supercategory", pa.string()),
        ("label", pa.string()),
        ("sentences", pa.list_(pa.string())),
        ("bbox", pa.list_(pa.float32())),
        ("mask", pa.struct([("counts", pa.string()), ("size", pa.list_(pa.int32()))])),
    ]
)
MOONDREAM_SCHEMA = pa.schema(
    [("image", IMAGE), ("image_id", pa.int64()), ("file_name", pa.string()), ("samples", pa.list_(SAMPLE))]
)


def jpeg(image_id: int) -> bytes:
    """The drawn image as a file."""
    file = io.BytesIO()
    picture(image_id).save(file, "jpeg", quality=95)
    return file.getvalue()


def lmms_row(ann_id: int, answers: list[str]) -> Row:
    """Of `lmms-lab/RefCOCO`."""
    image_id, left, top, right, bottom, _ = BOXES[ann_id]
    return {
        "question_id": str(ann_id),
        "image": {"bytes": jpeg(image_id), "path": f"{ann_id}.jpg"},
        "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
        "answer": answers,
        "segmentation": polygon((left, top, right, bottom)),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "file_name": file_name(image_id).replace(".jpg", f"_{ann_id}.jpg"),
    }


def jxu_row(ref_id: int, ann_id: int, split: str, sentences: list[str]) -> Row:
    """Of `jxu124/refcoco`."""
    image_id = BOXES[ann_id][0]
    structs = [
        {"raw": text, "sent": text, "sent_id": 10 * ref_id + place, "tokens": text.split()}
        for place, text in enumerate(sentences)
    ]
    return {
        "sent_ids": [item["sent_id"] for item in structs],
        "file_name": file_name(image_id).replace(".jpg", f"_{ref_id}.jpg"),
        "ann_id": ann_id,
        "ref_id": ref_id,
        "image_id": image_id,
        "split": split,
        "sentences": structs,
        "category_id": 1,
        "raw_anns": json.dumps(annotation(ann_id)),
        "raw_image_info": json.dumps(image_entry(image_id)),
        "raw_sentences": json.dumps(structs),
        "image_path": f"coco/train2014/{file_name(image_id)}",
        "bbox": annotation(ann_id)["bbox"],
        "captions": sentences,
        "global_image_id": f"coco.{image_id}",
        "anns_id": f"refcoco.{ann_id}",
    }


def sample(ann_id: int, sentences: list[str]) -> Row:
    """Of a row of `moondream/refcoco-m`."""
    image_id = BOXES[ann_id][0]
    mask = encode_mask(true_mask(ann_id, image_id=image_id))
    return {
        "id": ann_id,
        "image_id": image_id,
        "category": "person",
        "supercategory": "person",
        "label": "person",
        "sentences": sentences,
        "bbox": annotation(ann_id)["bbox"],
        "mask": mask.as_coco(),
    }
