"""A task of Label Studio: an image with its masks as predictions, and what a reviewer may say of it."""

from __future__ import annotations

import base64
import io
from typing import Any
from urllib.parse import quote

from PIL import Image

from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.ontology import OBJECT
from litelvlm.pipeline.review.readers.brush import encode_brush

IMAGE, BRUSH, BITMASK, PHRASE, VERDICT, ABSENT = "image", "brush", "bitmask", "phrase", "verdict", "absent"
IMAGES_DIR = "images"


def task_of(image: MaskedImage, class_names: list[str], *, bitmask: bool, model_version: str) -> dict[str, Any]:
    """A task with one prediction, JSON as Label Studio imports it.

    Its `data` hold what a reviewer is asked (`asked`, one choice a record, distinct where phrases are equal), the
    record of each choice (`record_of`), all records, and the labels: the image's phrases or, of bitmasks, the classes,
    since Label Studio takes labels from tasks for brushes alone.
    """
    asked = asked_of(image)
    regions = [one for found in image.objects for one in _results(image, found, class_names, bitmask=bitmask)]
    scores = [one.score for one in image.objects]
    prediction = {"model_version": model_version, "score": min(scores, default=0.0), "result": regions}
    return {
        "data": {
            "image": image.url or local_file_url(image.file_name),
            "file_name": image.file_name,
            "image_id": image.source_id,
            "width": image.width,
            "height": image.height,
            "labels": [{"value": one} for one in (class_names if bitmask else _phrases(image))],
            "records": list(asked.values()),
            "record_of": dict(asked),
            "asked": [{"value": choice} for choice in asked],
        },
        "predictions": [prediction],
    }


def asked_of(image: MaskedImage) -> dict[str, str]:
    """The record of every choice. A choice is its phrase, what became of it where it has no mask, and a number where
    that is taken."""
    found: dict[str, str] = {}
    for phrase, record, status in _all(image):
        plain = choice = f"{phrase} – {status}" if status else phrase
        number = 1
        while choice in found:
            number += 1
            choice = f"{plain} ({number})"
        found[choice] = record
    return found


def _phrases(image: MaskedImage) -> list[str]:
    return list(dict.fromkeys(phrase for phrase, _, _ in _all(image)))


def local_file_url(file_name: str) -> str:
    """Where Label Studio serves an image of an export, if `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT` is its directory."""
    return f"/data/local-files/?d={quote(f'{IMAGES_DIR}/{file_name}')}"


def _all(image: MaskedImage) -> list[tuple[str, str, str]]:
    """Phrase, record and, for those without a mask, status of all that was asked of an image."""
    with_mask = [(one.phrase, one.record, "") for one in image.objects]
    return with_mask + [(one.phrase, one.record, f"no mask: {one.status}") for one in image.unmasked]


def _results(image: MaskedImage, one: MaskedObject, class_names: list[str], *, bitmask: bool) -> list[dict[str, Any]]:
    """The region of a mask and its phrase as a text that can be corrected, tied by their id: the record's key."""
    place = {
        "id": one.record,
        "to_name": IMAGE,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
    }
    name = class_names[one.class_index]
    about = {} if bitmask or name == OBJECT.name else {"meta": {"text": [name]}}
    value = _bitmask(one, name) if bitmask else _brush(one)
    return [
        place | about | {"from_name": BITMASK if bitmask else BRUSH, "score": one.score} | value,
        place | {"from_name": PHRASE, "type": "textarea", "value": {"text": [one.phrase]}},
    ]


def _brush(one: MaskedObject) -> dict[str, Any]:
    rle = encode_brush(decode_mask(one.mask))
    return {"type": "brushlabels", "value": {"format": "rle", "rle": rle, "brushlabels": [one.phrase]}}


def _bitmask(one: MaskedObject, label: str) -> dict[str, Any]:
    return {"type": "bitmasklabels", "value": {"imageDataURL": bitmask_url(one.mask), "bitmasklabels": [label]}}


def bitmask_url(mask: EncodedMask) -> str:
    """The mask as a PNG in a `data:` URL, white inside and transparent outside."""
    alpha = Image.fromarray(decode_mask(mask)).convert("L")
    stream = io.BytesIO()
    Image.merge("LA", (Image.new("L", alpha.size, 255), alpha)).convert("RGBA").save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
