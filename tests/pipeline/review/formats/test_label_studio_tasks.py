"""A task: masks exact in both encodings, every record asked once, equal phrases told apart."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.export.run_images import UnmaskedPhrase
from litelvlm.pipeline.review.formats.label_studio_tasks import asked_of, local_file_url, task_of
from litelvlm.pipeline.review.readers.brush import decode_brush
from tests.review_tools.drawn import PHRASES, SIZE_HW, masked_images, record_of, shapes

NAMES = ["object", "thing"]


@pytest.mark.parametrize("bitmask", [False, True])
def test_masks_and_phrases_are_tied_by_the_record(bitmask: bool) -> None:
    image = masked_images(1)[0]
    task = task_of(image, NAMES, bitmask=bitmask, model_version="m")
    results = task["predictions"][0]["result"]
    masks, texts = results[::2], results[1::2]
    assert [one["id"] for one in masks] == [one["id"] for one in texts] == [record_of(0, place) for place in range(4)]
    assert [one["value"]["text"] for one in texts] == [[phrase] for phrase in PHRASES]
    for one, mask in zip(masks, shapes(), strict=True):
        np.testing.assert_array_equal(_pixels(one["value"]) >= 128, mask)
        assert (one["original_height"], one["original_width"]) == SIZE_HW
    assert [one["score"] for one in masks] == [one.score for one in image.objects]
    assert task["predictions"][0]["score"] == min(one.score for one in image.objects)


def _pixels(value: dict[str, Any]) -> np.ndarray:
    if "rle" in value:
        return decode_brush(value["rle"], SIZE_HW)
    with Image.open(io.BytesIO(base64.b64decode(value["imageDataURL"].split(",")[1]))) as image:
        assert image.mode == "RGBA"
        return np.asarray(image)[..., 3]


def test_labels_are_the_phrases_or_of_bitmasks_the_classes() -> None:
    image = masked_images(1)[0]
    brush, bitmask = (task_of(image, NAMES, bitmask=one, model_version="m") for one in (False, True))
    assert [one["value"] for one in brush["data"]["labels"]] == [*dict.fromkeys(PHRASES), "green <i>star</i>"]
    assert [one["value"] for one in bitmask["data"]["labels"]] == NAMES
    assert [one.get("meta") for one in brush["predictions"][0]["result"][::2]] == [None, {"text": ["thing"]}] * 2


def test_every_record_is_asked_once_by_a_text_of_its_own() -> None:
    image = masked_images(1)[0]
    image.objects[3] = replace(image.objects[3], phrase="blue square (2)")
    image.unmasked.append(UnmaskedPhrase(phrase="blue square", record="5-a", status="failed"))
    data = task_of(image, NAMES, bitmask=False, model_version="m")["data"]
    assert data["record_of"] == asked_of(image)
    assert list(asked_of(image))[1:4] == ["blue square", "blue square (2)", "blue square (2) (2)"]
    assert list(asked_of(image))[-1] == "blue square – no mask: failed"
    assert [one["value"] for one in data["asked"]] == list(data["record_of"])
    assert data["records"] == list(data["record_of"].values())
    assert len(set(data["records"])) == 6


def test_where_images_are() -> None:
    (image,) = masked_images(1, url="https://images.example/x")
    assert task_of(image, NAMES, bitmask=False, model_version="m")["data"]["image"] == "https://images.example/x/0.png"
    assert local_file_url("a b/ü&.png") == "/data/local-files/?d=images/a%20b/%C3%BC%26.png"
