"""Label Studio's protocol, as its server speaks it: projects, predictions from text areas, corrections."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.review.readers.brush import decode_brush
from litelvlm.pipeline.review.readers.pixels import from_data_url
from tests.fakes import true_mask
from tests.pipeline.serving.doubles import Service, service

RGB = np.random.default_rng(1).integers(0, 256, (20, 26, 3), dtype=np.uint8)
_TEXTS = """<TextArea name="prompt" toName="image" editable="true"/>
<TextArea name="phrase" toName="image" perRegion="true"/>"""
BRUSH = f"""<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">
<Label value="Thing"/><Label value="Cat"/></BrushLabels>{_TEXTS}</View>"""
BITMASK = BRUSH.replace("BrushLabels", "BitmaskLabels")


@pytest.fixture
def made(tmp_path: Path) -> Service:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    return service(image_root=str(tmp_path))


def post(made: Service, path: str, body: Any) -> Any:
    return asyncio.run(made.client.post(path, json=body))


def predict(made: Service, config: str = BRUSH, typed: list[str] | None = None, **data: Any) -> Any:
    context = None
    if typed is not None:
        areas = [{"type": "textarea", "from_name": "prompt", "to_name": "image", "value": {"text": typed}}]
        context = {"result": [*areas, {"type": "brushlabels", "value": {}}]}
    tasks = [{"id": 7, "data": {"image": "a.png"} | data}]
    params = {"login": None, "password": None, "context": context}
    return post(made, "/predict", {"tasks": tasks, "project": "1.2", "label_config": config, "params": params})


def test_setup_tells_the_version_and_refuses_an_interface_without_masks(made: Service) -> None:
    body = {"project": "1.2", "schema": BRUSH, "hostname": "http://localhost:8080", "access_token": "x"}
    assert post(made, "/setup", body).json() == {"model_version": "fake-1"}
    refused = post(made, "/setup", body | {"schema": "<View/>"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "schema")


@pytest.mark.parametrize("config", [BRUSH, BITMASK])
def test_what_is_typed_comes_back_as_masks_with_their_phrase(made: Service, config: str) -> None:
    told = predict(made, config, ["cat", " a dog "]).json()
    assert told["model_version"] == "fake-1"
    regions = told["results"][0]["result"]
    masks = [one for one in regions if one["from_name"] == "brush"]
    texts = {one["id"]: one["value"]["text"] for one in regions if one["type"] == "textarea"}
    assert [texts[one["id"]] for one in masks] == [["cat"], ["a dog"]]
    for region, phrase, label in zip(masks, ("cat", "a dog"), ("Cat", "Thing"), strict=True):
        assert (region["original_width"], region["original_height"], region["image_rotation"]) == (26, 20, 0)
        value = region["value"]
        if config is BRUSH:
            assert value["format"] == "rle"
            found = decode_brush(value["rle"], (20, 26)) >= 128
            assert np.array_equal(found, true_mask(RGB, phrase))
        else:
            mask = from_data_url(value["imageDataURL"], (20, 26), "test")
            assert mask.area == true_mask(RGB, phrase).sum()
        assert value[region["type"]] == [label]
    assert told["results"][0]["score"] == min(one["score"] for one in masks)


def test_without_text_the_phrases_are_those_of_the_task_then_the_labels(made: Service) -> None:
    of_task = predict(made, phrases=["x", "yy"]).json()["results"][0]["result"]
    assert [one["value"]["text"] for one in of_task if one["type"] == "textarea"] == [["x"], ["yy"]]
    of_labels = predict(made).json()["results"][0]["result"]
    assert [one["value"]["text"] for one in of_labels if one["type"] == "textarea"] == [["Thing"], ["Cat"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"tasks": 3}, 422), ({"tasks": [3]}, 422), ({"tasks": []}, 422), ([], 422)],
)
def test_damaged_requests_are_refused(made: Service, body: Any, status: int) -> None:
    answer = post(made, "/predict", body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_images_of_elsewhere_are_refused(made: Service) -> None:
    for uri in ("/data/upload/1/a.png", "file:///etc/passwd", "http://10.0.0.1/a.png"):
        assert predict(made, typed=["cat"], image=uri).status_code == 403
    assert predict(made, typed=["cat"], image=3).status_code == 422


class _Kept:
    def __init__(self, error: Exception | None = None) -> None:
        self.tasks: list[Any] = []
        self._error = error

    def add(self, task: Any) -> int:
        if self._error:
            raise self._error
        self.tasks.append(task)
        return 2


def test_corrections_are_kept_and_other_events_are_not() -> None:
    kept = _Kept()
    made = service(corrections=kept)
    event = {"action": "ANNOTATION_UPDATED", "annotation": {"id": 3, "result": []}, "task": {"id": 1, "data": {}}}
    assert post(made, "/webhook", event).json() == {"status": "ok", "items": 2}
    assert kept.tasks == [{"id": 1, "data": {}, "annotations": [{"id": 3, "result": []}]}]
    assert post(made, "/webhook", event | {"action": "PROJECT_CREATED"}).json() == {"status": "ignored"}
    assert post(service(), "/webhook", event).json() == {"status": "ignored"}
    assert post(made, "/webhook", event | {"task": None}).status_code == 422
    for error, status in ((ValueError("no such image"), 422), (StorageError("down"), 503)):
        assert post(service(corrections=_Kept(error)), "/webhook", event).status_code == status
