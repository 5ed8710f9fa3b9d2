"""Label Studio's protocol, as its server speaks it: projects, predictions from text areas, corrections."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.review.readers.brush import decode_brush
from litelvlm.pipeline.review.readers.pixels import from_data_url
from litelvlm.pipeline.serving.label_studio import MAX_PHRASES, MAX_TASKS
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
    assert asyncio.run(made.client.get("/versions?project=1.2")).json() == {"versions": ["fake-1"]}
    refused = post(made, "/setup", body | {"schema": "<View/>"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "schema")


@pytest.mark.parametrize("config", [BRUSH, BITMASK])
def test_what_is_typed_comes_back_as_masks_with_their_phrase(made: Service, config: str) -> None:
    told = predict(made, config, ["of before", "cat\n a dog \n\ncat"]).json()
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


@pytest.mark.parametrize("typed", [[], ["  "]])
def test_who_annotates_without_a_text_is_told_nothing(made: Service, typed: list[str]) -> None:
    (told,) = predict(made, typed=typed, phrases=["x"]).json()["results"]
    assert (told["result"], made.model.asked) == ([], [])


def test_without_text_the_phrases_are_those_of_the_task_then_the_labels(made: Service) -> None:
    of_task = predict(made, phrases=["x", "yy"]).json()["results"][0]["result"]
    assert [one["value"]["text"] for one in of_task if one["type"] == "textarea"] == [["x"], ["yy"]]
    of_labels = predict(made).json()["results"][0]["result"]
    assert [one["value"]["text"] for one in of_labels if one["type"] == "textarea"] == [["Thing"], ["Cat"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"tasks": 3}, 422), ({"tasks": [3]}, 422), ({"tasks": []}, 422), ([], 422), ("{", 422)],
)
def test_damaged_requests_are_refused(made: Service, body: Any, status: int) -> None:
    answer = post(made, "/predict", body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_images_of_elsewhere_are_refused(made: Service) -> None:
    for uri in ("/data/upload/1/a.png", "file:///etc/passwd", "http://10.0.0.1/a.png"):
        assert predict(made, typed=["cat"], image=uri).status_code == 403
    assert predict(made, typed=["cat"], image=3).status_code == 422


def test_labels_beyond_the_limit_of_a_request_are_asked_in_parts(made: Service) -> None:
    labels = [f"thing {number}" for number in range(made.config.limits.max_phrases + 5)]
    masks = predict(made, phrases=labels).json()["results"][0]["result"]
    assert [one["value"]["text"][0] for one in masks if one["type"] == "textarea"] == labels
    assert predict(made, phrases=["thing"] * (MAX_PHRASES + 1)).json()["error"]["code"] == "too_many_phrases"


def test_phrases_and_uris_have_the_limits_of_the_api(made: Service) -> None:
    assert predict(made, typed=["word " * 1_000]).json()["error"]["field"] == "phrases.0"
    assert predict(made, typed=["cat"], image="a" * 9_000).json()["error"]["field"] == "image.uri"
    kept = service(label_studio_url="http://127.0.0.1:1/")
    for uri in ("//[", "//elsewhere.example/data/a.png", "/user/account", "/data/../api/users"):
        assert predict(kept, typed=["cat"], image=uri).status_code == 403


def test_of_several_tasks_those_that_can_be_are_answered(made: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "litelvlm.serve")
    body = {"label_config": BRUSH, "params": {"context": None}}
    tasks = [{"id": at, "data": {"image": name}} for at, name in enumerate(["a.png", "b.png", "a.png"])]
    good, none, again = post(made, "/predict", body | {"tasks": tasks}).json()["results"]
    assert none == [], "which Label Studio keeps no prediction of"
    assert [len(good["result"]), len(again["result"])] == [4, 4]
    assert '"unanswered": 1' in caplog.text
    missing = post(made, "/predict", body | {"tasks": [tasks[1]] * 2})
    assert (missing.status_code, missing.json()["error"]["code"]) == (422, "not_found")
    many = post(made, "/predict", body | {"tasks": [tasks[0]] * (MAX_TASKS + 1)}).json()["results"]
    assert len(many) == 1, "Label Studio then asks for each by itself"


class _Kept:
    def __init__(self, error: Exception | None = None, pause: threading.Event | None = None) -> None:
        self.tasks: list[Any] = []
        self._error, self._pause = error, pause

    def add(self, task: Any) -> int:
        if self._pause:
            self._pause.wait()
        if self._error and task["id"] == 1:
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
        kept = _Kept(error)
        both = {"action": "ANNOTATIONS_CREATED", "annotation": [{"id": 4}, {"id": 5}], "task": [{"id": 1}, {"id": 2}]}
        assert post(service(corrections=kept), "/webhook", both).status_code == status
        assert [one["id"] for one in kept.tasks] == [2], "what is not at fault is kept"


def test_a_correction_is_kept_though_label_studio_hangs_up() -> None:
    pause = threading.Event()
    kept = _Kept(pause=pause)
    made = service(corrections=kept)
    event = {"action": "ANNOTATIONS_CREATED", "annotation": [{"id": 4}, {"id": 5}], "task": [{"id": 1}, {"id": 2}]}

    async def hang_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.client.post("/webhook", json=event), 0.2)
        pause.set()

    asyncio.run(hang_up())  # waits for threads when it ends
    assert [one["id"] for one in kept.tasks] == [1, 2]
