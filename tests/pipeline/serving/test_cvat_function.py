"""The function for CVAT: its labels and shapes, as cvat-sdk checks and reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from litelvlm.pipeline.masks import encode_mask

pytestmark = pytest.mark.review_tools


@dataclass
class Context:
    """As a caller's."""

    frame_name: str = "a.png"
    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False


MASK = np.zeros((10, 14), bool)
MASK[2:5, 3:9] = True


def made(frames: Any = None) -> Any:
    from litelvlm.pipeline.serving.cvat_function import PhraseFunction

    def ask(image: Any, phrases: list[str]) -> Any:
        return [None if one == "nothing" else (encode_mask(MASK), 0.4 if one == "weak" else 0.9) for one in phrases]

    return PhraseFunction({"car": ["a car", "weak"], "dog": ["nothing"]}, frames or {}, ask)


def test_masks_come_under_their_labels_and_above_the_threshold() -> None:
    from cvat_sdk.masks import decode_mask

    function, image = made(), PIL.Image.new("RGB", (14, 10))
    assert [one.name for one in function.spec.labels] == ["car", "dog"]
    shapes = function.detect(Context(), image)
    assert [(one.label_id, one.type.value, one.score) for one in shapes] == [(0, "mask", 0.9), (0, "mask", 0.4)]
    assert np.array_equal(decode_mask(shapes[0].points, image_width=14, image_height=10), MASK)
    assert len(function.detect(Context(conf_threshold=0.5), image)) == 1
    polygons = function.detect(Context(conv_mask_to_poly=True), image)
    assert {one.type.value for one in polygons} == {"polygon"}


def test_a_service_is_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from litelvlm.pipeline.serving import cvat_function
    from litelvlm.pipeline.serving.client import Annotation, Mask

    asked: list[list[str]] = []

    class Client:
        def __init__(self, **settings: Any) -> None: ...

        def annotate(self, image: bytes, phrases: list[str], **settings: Any) -> Annotation:
            asked.append(phrases)
            masks = [Mask(phrase=one, status="empty") for one in phrases]
            return Annotation(width=14, height=10, masks=masks, cached_image=True, model_version="", seconds={})

    monkeypatch.setattr(cvat_function, "Client", Client)
    labels = [f"thing {number}" for number in range(70)]
    function = cvat_function.create(url="http://service", labels=",".join(labels))
    context: Any = Context()
    assert function.detect(context, PIL.Image.new("RGB", (14, 10))) == []
    assert [len(some) for some in asked] == [32, 32, 6]
    assert [phrase for some in asked for phrase in some] == labels


def test_a_table_of_frames_goes_before_the_labels(tmp_path: Path) -> None:
    from litelvlm.pipeline.serving.cvat_function import create, read_frames

    path = tmp_path / "frames.json"
    path.write_text(json.dumps({"b.png": {"cat": ["the cat"]}}))
    function, image = made(read_frames(str(path))), PIL.Image.new("RGB", (14, 10))
    assert [one.label_id for one in function.detect(Context("b.png"), image)] == [2]
    path.write_text('{"b.png": ["cat"]}')
    with pytest.raises(ValueError, match=r"b\.png"):
        read_frames(str(path))
    with pytest.raises(ValueError, match="labels"):
        create(url="http://127.0.0.1:1")
