"""The service as it runs: on Ray Serve, with the shipped checkpoint, over a socket, and with its replica killed."""

from __future__ import annotations

import io
import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from ray import serve

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.pipeline.serving.client import Annotation, Client
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.run import serve_forever
from tests.pipeline.serving.doubles import free_port

SCENE = draw_scene(HELD_OUT_SEED + 4)


@pytest.fixture
def url(local_ray: None) -> Iterator[str]:
    """Of a service that runs; it is drained and ended afterwards."""
    config = ServeConfig.from_flat({"model": "demo", "port": free_port(), "num_retain_tokens": 48, "rule": "paper"})
    ready, stop, said = threading.Event(), threading.Event(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("ready: "):
            ready.set()

    thread = threading.Thread(target=serve_forever, args=(config, say, stop))
    thread.start()
    assert ready.wait(120)
    try:
        yield said[-1].split()[1]
    finally:
        stop.set()
        thread.join(60)
        serve.shutdown()
    assert not thread.is_alive()


def replica() -> psutil.Process:
    """The process that holds the model, of this test's Ray."""
    below = psutil.Process().children(recursive=True)
    (found,) = [one for one in below if "ServeReplica:litelvlm:model" in "".join(one.cmdline())]
    return found


def decoded(told: Annotation) -> list[np.ndarray]:
    return [coco_mask.decode(one.rle).astype(bool) for one in told.masks]


def test_answers_are_the_model_s_and_a_killed_replica_is_not_noticed(url: str, demo_annotator: Annotator) -> None:
    request = AnnotationRequest(image=SCENE.image, phrases=SCENE.phrases[:2])
    truth = demo_annotator.annotate([request], pruning=PruningConfig(num_retain_tokens=48, rule="paper"))[0].masks
    buffer = io.BytesIO()
    Image.fromarray(SCENE.image).save(buffer, "PNG")
    client = Client(url, retry_s=60)
    first, second = (client.annotate(buffer.getvalue(), [phrase]) for phrase in SCENE.phrases[:2])
    assert (first.cached_image, second.cached_image) == (False, True)
    replica().kill()
    after = client.annotate(buffer.getvalue(), SCENE.phrases[:2])
    assert after.cached_image is False
    for found in ([*decoded(first), *decoded(second)], decoded(after)):
        for mask, wanted in zip(found, truth, strict=True):
            assert np.mean(mask != wanted) < 1e-3
    with urllib.request.urlopen(f"{url}metrics") as metrics:
        assert b'litelvlm_serve_phrases_total{source="model",status="ok"} 4.0' in metrics.read()
