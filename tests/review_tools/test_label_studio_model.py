"""A real Label Studio asks a real service: phrases become regions, tasks get predictions, corrections reach a run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from litelvlm.demo.scenes import HELD_OUT_SEED, Scene, draw_scene
from litelvlm.jobs.review import main as review
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.review.edits import read_edits
from litelvlm.pipeline.review.push.label_studio import KEY
from litelvlm.pipeline.review.readers.brush import decode_brush
from litelvlm.pipeline.review.readers.pixels import from_data_url
from litelvlm.pipeline.serving.client import Mask
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.served import SERVICE_TOKEN, Served, served
from tests.review_tools.test_seen import on_screen, task_page
from tests.review_tools.tools import TOKEN

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.review_tools

SCENE = draw_scene(HELD_OUT_SEED + 20_000)
INTERFACE = """<View>
  <TextArea name="prompt" toName="image" editable="true" showSubmitButton="true" smart="true"/>
  <Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image"><Label value="object"/></BrushLabels>
  <TextArea name="phrase" toName="image" perRegion="true"/>
</View>"""


@pytest.fixture(scope="module")
def service(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """It reads the images that Label Studio keeps."""
    with served(tmp_path_factory.mktemp("served"), "--label-studio-url", server) as made:
        yield made


@pytest.fixture
def api(server: str) -> Iterator[httpx.Client]:
    """Label Studio's own."""
    with httpx.Client(base_url=server, headers={"Authorization": f"Token {TOKEN}"}, timeout=120) as client:
        yield client


def asked(api: httpx.Client, method: str, path: str, **given: Any) -> Any:
    """What Label Studio answers, which is no error."""
    told = api.request(method, path, **given)
    assert told.is_success, told.text[:500]
    return told.json()


def project(api: httpx.Client, title: str, interface: str, num_tasks: int = 1) -> tuple[int, list[int]]:
    """A project and its tasks; each has a copy of the scene that was uploaded."""
    made = asked(api, "POST", "/api/projects", json={"title": title, "label_config": interface})["id"]
    for at in range(num_tasks):
        asked(api, "POST", f"/api/projects/{made}/import", files={"file": (f"{at}.png", png(SCENE), "image/png")})
    tasks = asked(api, "GET", f"/api/tasks?project={made}")["tasks"]
    return made, sorted(one["id"] for one in tasks)


def connected(api: httpx.Client, project: int, service: Served, password: str = SERVICE_TOKEN) -> httpx.Response:
    """The answer to connecting the service as the project's model."""
    who = {"auth_method": "BASIC_AUTH", "basic_auth_user": "any", "basic_auth_pass": password}
    model = {"project": project, "url": service.url, "title": "model", "is_interactive": True, **who}
    return api.post("/api/ml", json=model)


def png(scene: Scene) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(scene.image).save(stream, "PNG")
    return stream.getvalue()


def answers(service: Served, phrases: list[str]) -> tuple[list[Mask], list[np.ndarray]]:
    """What the service says when it is asked directly, and its (H, W) bool masks."""
    masks = service.client.annotate(png(SCENE), phrases, format="rle").masks
    return masks, [coco.decode(one.rle).astype(bool) for one in masks]


def area(region: dict[str, Any]) -> np.ndarray:
    """(H, W) bool mask of a region."""
    size, value = (region["original_height"], region["original_width"]), region["value"]
    if "imageDataURL" in value:
        return decode_mask(from_data_url(value["imageDataURL"], size, "region"))
    return decode_brush(value["rle"], size) >= 128


@pytest.mark.parametrize("tag", ["BrushLabels", "BitmaskLabels"])
def test_phrases_that_are_typed_become_regions(api: httpx.Client, service: Served, tag: str) -> None:
    made, (task,) = project(api, f"typed {tag}", INTERFACE.replace("BrushLabels", tag))
    assert connected(api, made, service, "not the token at all").status_code == 400
    model = connected(api, made, service).json()
    assert (model["readable_state"], model["error_message"]) == ("Connected", None)
    assert asked(api, "GET", f"/api/ml/{model['id']}/versions") == {"versions": [model["model_version"]]}
    texts = ["of before", "\n".join(SCENE.phrases)]
    typed = {"type": "textarea", "from_name": "prompt", "to_name": "image", "value": {"text": texts}}
    told = asked(
        api, "POST", f"/api/ml/{model['id']}/interactive-annotating",
        json={"task": task, "context": {"result": [typed]}},
    )["data"]  # fmt: skip
    masks, areas = answers(service, SCENE.phrases)
    regions = [one for one in told["result"] if one["from_name"] == "mask"]
    for region, mask, expected in zip(regions, masks, areas, strict=True):
        np.testing.assert_array_equal(area(region), expected)
        assert region["score"] == mask.score
        assert region["value"][tag.lower()] == ["object"]
    shown = [one["value"]["text"] for one in told["result"] if one["from_name"] == "phrase"]
    assert shown == [[phrase] for phrase in SCENE.phrases]
    kept = asked(api, "POST", f"/api/tasks/{task}/annotations", json={"result": told["result"]})
    assert kept["result"] == told["result"]


def test_tasks_get_predictions_with_version_and_score(api: httpx.Client, service: Served) -> None:
    made, tasks = project(api, "predicted", INTERFACE.replace("object", SCENE.phrases[0]), num_tasks=2)
    gone = asked(api, "POST", f"/api/projects/{made}/import", json=[{"image": "https://elsewhere.example/a.png"}])
    assert gone["task_count"] == 1
    model = connected(api, made, service).json()
    everything = {"selectedItems": {"all": True, "excluded": []}}
    asked(api, "POST", f"/api/dm/actions?project={made}&id=retrieve_tasks_predictions", json=everything)
    predictions = asked(api, "GET", f"/api/predictions?project={made}")
    assert sorted(one["task"] for one in predictions) == tasks, "the task that cannot be answered has none"
    ((mask,), (expected,)) = answers(service, SCENE.phrases[:1])
    for one in predictions:
        assert (one["model_version"], one["score"]) == (model["model_version"], mask.score)
        np.testing.assert_array_equal(area(one["result"][0]), expected)


def test_corrections_reach_the_reviews_of_the_run(
    api: httpx.Client, service: Served, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, TOKEN)
    where = ["--to", "label-studio", "--output", str(tmp_path / "tasks"), "--push", server]
    assert review(["export", str(service.run), *where, "--project", "corrected"]) == 0
    made = {one["title"]: one["id"] for one in asked(api, "GET", "/api/projects")["results"]}["corrected"]
    assert connected(api, made, service).status_code == 201
    (hook,) = asked(api, "GET", f"/api/webhooks?project={made}")
    assert hook["url"] == f"{service.url}/webhook", "Label Studio makes it by itself, without the token"
    headers = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
    asked(api, "PATCH", f"/api/webhooks/{hook['id']}", json={"headers": headers})
    task = asked(api, "GET", f"/api/tasks?project={made}&fields=all")["tasks"][0]
    (shown,) = asked(api, "GET", f"/api/predictions?task={task['id']}")
    results = shown["result"][2:]  # the first mask and its phrase are deleted
    asked(api, "POST", f"/api/tasks/{task['id']}/annotations", json={"result": results, "lead_time": 4.5})
    told = ["--from", str(tmp_path / "export.json"), "--output", str(service.reviewed)]
    records = task["data"]["records"]

    def edits() -> list[tuple[str, str, float, int]]:
        found = read_edits(Storage(str(service.reviewed)), claimed_run(Storage(str(service.run))).fingerprint)
        seen = [one for one in found if one["record"] in records]
        return [(one["record"], one["verdict"], one["lead_time_s"], one["num_reviews"]) for one in seen]

    expected = [(key, "unchanged" if at else "rejected", 4.5, 1) for at, key in enumerate(records)]
    assert sorted(edits()) == expected
    export = api.get(f"/api/projects/{made}/export?exportType=JSON&download_all_tasks=true")
    (tmp_path / "export.json").write_bytes(export.content)
    assert review(["ingest", str(service.run), *told]) == 0
    assert sorted(edits()) == expected, "an export of the same adds nothing"


def test_seen_in_a_browser(api: httpx.Client, service: Served, server: str, browser: Browser, tmp_path: Path) -> None:
    made, (task,) = project(api, "seen typing", INTERFACE)
    assert connected(api, made, service).status_code == 201
    (_,), (expected,) = answers(service, SCENE.phrases[:1])
    page = task_page(browser, server, made, task)
    page.get_by_text("Auto-Annotation").click()
    plain = on_screen(page, tmp_path / "plain.png")
    with page.expect_response("**/interactive-annotating"):
        page.locator("[name=prompt]").fill(SCENE.phrases[0])
        page.locator("[name=prompt]").press("Enter")
    found = page.get_by_text("1 suggestions")
    found.wait_for()
    changed = np.abs(on_screen(page, tmp_path / "suggested.png") - plain).max(axis=-1) > 12
    page.screenshot(path=tmp_path / "page.png")
    assert 0.5 * expected.mean() < changed.mean() < 3 * expected.mean(), "the mask is on the image, and little else"
    found.locator("xpath=..").locator("button").last.click()
    with page.expect_response("**/annotations*"):
        page.get_by_role("button", name="Submit").click()
    page.close()
    (kept,) = asked(api, "GET", f"/api/tasks/{task}/annotations")
    texts = {one["id"]: one["value"]["text"] for one in kept["result"] if one["from_name"] == "phrase"}
    (region,) = [one for one in kept["result"] if one["from_name"] == "mask" and texts[one["id"]] == SCENE.phrases[:1]]
    np.testing.assert_array_equal(area(region), expected)
