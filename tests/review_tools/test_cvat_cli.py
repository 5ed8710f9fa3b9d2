"""CVAT's own command line runs the function: over a task, registered as a native function, and as its agent."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.demo.run import ROOT
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.pipeline.serving.config import TOKEN_VARIABLE
from tests.review_tools.cvat_server import CVAT_TOKEN, FUNCTION, TASK, CvatServer, cvat_server
from tests.review_tools.served import SERVICE_TOKEN, Served, served

pytestmark = pytest.mark.review_tools

SCENES = [draw_scene(HELD_OUT_SEED + 20_000 + number) for number in range(2)]
FILE = ["--function-file", str(ROOT / "pipeline/serving/cvat_function.py")]
MODULE = ["--function-module", "litelvlm.pipeline.serving.cvat_function"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), run=False) as made:
        yield made


@pytest.fixture
def cvat() -> Iterator[CvatServer]:
    """A task of two scenes, whose labels are what is in them and something else."""
    images = {f"{number}.png": _png(scene.image) for number, scene in enumerate(SCENES)}
    with cvat_server(images, (*_labels(), "car")) as made:
        yield made


def _labels() -> tuple[str, ...]:
    return tuple(dict.fromkeys(scene.phrases[0] for scene in SCENES))


def _png(rgb: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "PNG")
    return stream.getvalue()


def cli(cvat: CvatServer, *arguments: str) -> str:
    """What the command line prints, which ends well."""
    environment = os.environ | {"CVAT_ACCESS_TOKEN": CVAT_TOKEN, TOKEN_VARIABLE: SERVICE_TOKEN, "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).with_name("cvat-cli")), "--server-host", cvat.url, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def masks_of(shapes: list[dict[str, Any]]) -> dict[tuple[int, str], np.ndarray]:
    """(H, W) bool masks by frame and label."""
    from cvat_sdk.masks import decode_mask

    found = {}
    for one in shapes:
        height, width = SCENES[one["frame"]].image.shape[:2]
        mask = decode_mask(one["points"], image_width=width, image_height=height)
        found[one["frame"], (*_labels(), "car")[one["label_id"] - 11]] = mask
    return found


def of_service(service: Served) -> dict[tuple[int, str], np.ndarray]:
    """What it says when it is asked directly."""
    found = {}
    for number, scene in enumerate(SCENES):
        for mask in service.client.annotate(_png(scene.image), list(_labels())).masks:
            if mask.status == "ok":
                found[number, mask.phrase] = coco.decode(mask.rle).astype(bool)
    return found


def assert_equal(found: dict[tuple[int, str], np.ndarray], expected: dict[tuple[int, str], np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], mask)


def test_a_task_gets_the_masks_of_the_service(cvat: CvatServer, service: Served) -> None:
    asked = ["-p", f"url=str:{service.url}", "-p", f"labels=str:{','.join(_labels())}"]
    cli(cvat, "task", "auto-annotate", str(TASK), *FILE, *asked)
    expected = of_service(service)
    assert len(expected) >= len(SCENES)
    assert_equal(masks_of(cvat.shapes), expected)
    assert {(one["type"], one["source"]) for one in cvat.shapes} == {("mask", "auto")}
    cvat.shapes.clear()
    least = ["--conf-threshold", "0.99", "--conv-mask-to-poly"]
    cli(cvat, "task", "auto-annotate", str(TASK), *MODULE, *asked, *least)
    assert all(one["type"] == "polygon" and one["score"] >= 0.99 for one in cvat.shapes)


def test_phrases_of_frames_and_labels_that_the_task_has_not(cvat: CvatServer, service: Served, tmp_path: Path) -> None:
    frames = {"1.png": {"car": [SCENES[1].phrases[0]], "no such label": [SCENES[1].phrases[0]]}, "0.png": {}}
    (tmp_path / "frames.json").write_text(json.dumps(frames))
    asked = ["-p", f"url=str:{service.url}", "-p", f"frames=str:{tmp_path / 'frames.json'}", "--allow-unmatched-labels"]
    cli(cvat, "task", "auto-annotate", str(TASK), *FILE, *asked)
    expected = of_service(service)[1, SCENES[1].phrases[0]]
    assert_equal(masks_of(cvat.shapes), {(1, "car"): expected})


def test_a_native_function_and_its_agent(cvat: CvatServer, service: Served) -> None:
    function = [*FILE, "-p", f"url=str:{service.url}", "-p", f"labels=str:{','.join(_labels())}"]
    assert cli(cvat, "function", "create-native", "phrases", *function).strip() == str(FUNCTION)
    assert cvat.function is not None
    assert [one["name"] for one in cvat.function["labels_v2"]] == list(_labels())
    mapping = {name: {"name": name, "attributes": {}, "sublabels": {}} for name in _labels()}
    common = {"task": TASK, "mapping": mapping, "threshold": None, "conv_mask_to_poly": False}
    for request, what in (("whole", {"type": "annotate_task"}), ("one", {"type": "annotate_frame", "frame": 1})):
        cvat.queue.append({"ar_id": request, "ar_params": common | what})
    cli(cvat, "function", "run-agent", str(FUNCTION), *function, "--burst")
    assert not cvat.failed
    expected = of_service(service)
    assert_equal(masks_of(cvat.completed["whole"]["annotations"]["shapes"]), expected)
    of_frame = {key: mask for key, mask in expected.items() if key[0] == 1}
    assert_equal(masks_of(cvat.completed["one"]["annotations"]["shapes"]), of_frame)


def test_the_model_in_the_process_itself(cvat: CvatServer) -> None:
    asked = ["-p", "model=str:demo", "-p", f"labels=str:{','.join(_labels())}", "-p", "num_retain_tokens=int:48"]
    cli(cvat, "task", "auto-annotate", str(TASK), *FILE, *asked, "-p", "rule=str:paper")
    annotator = Annotator.from_pretrained("demo")
    expected: dict[tuple[int, str], np.ndarray] = {}
    for number, scene in enumerate(SCENES):
        request = AnnotationRequest(image=scene.image, phrases=list(_labels()))
        result = annotator.annotate([request], pruning=PruningConfig(num_retain_tokens=48, rule="paper"))[0]
        expected |= {(number, name): mask for name, mask in zip(_labels(), result.masks, strict=True) if mask.any()}
    assert_equal(masks_of(cvat.shapes), expected)
