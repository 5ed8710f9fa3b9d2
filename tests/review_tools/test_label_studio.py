"""A real Label Studio: pushed, seen through its API, reviewed, exported, read."""

from __future__ import annotations

import copy
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.formats.label_studio import LabelStudio
from litelvlm.pipeline.review.push.label_studio import push
from litelvlm.pipeline.review.readers.brush import decode_brush, encode_brush
from litelvlm.pipeline.review.readers.open import read_reviews
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import png
from tests.review_tools.drawn import PHRASES, SIZE_HW, masked_images, picture, record_of, shapes
from tests.review_tools.tools import TOKEN

pytestmark = pytest.mark.review_tools

CLASSES = (OBJECT, Category(id=2, name="thing"))


def exported(folder: Path, *, bitmask: bool) -> Storage:
    storage, written = Storage(str(folder)), LabelStudio(CLASSES, bitmask=bitmask)
    with Files(storage) as files:
        written.write("part-00000", masked_images(6, url="https://images.example"), files)
        written.finish(["part-00000"], files)
    return storage


def project_of(client: Any, name: str) -> Any:
    (found,) = [one for one in client.projects.list() if one.title == name]
    return found


def tasks_of(client: Any, name: str) -> list[Any]:
    found = client.tasks.list(project=project_of(client, name).id, fields="all", resolve_uri=False)
    return sorted(found, key=lambda one: str(one.data["image_id"]))


def reviews_of(client: Any, name: str, path: Path) -> dict[str, Any]:
    """What our reader finds in Label Studio's own JSON, by ids of images."""
    chunks = client.projects.exports.download_sync(project_of(client, name).id, download_all_tasks=True)
    path.write_bytes(b"".join(chunks))
    return {str(one.image_id): one for one in read_reviews([str(path)])}


@pytest.mark.parametrize("bitmask", [False, True])
def test_there_and_back(client: Any, server: str, tmp_path: Path, bitmask: bool) -> None:
    storage, name = exported(tmp_path / "out", bitmask=bitmask), f"there and back {bitmask}"
    assert push(server, storage, name, lambda _: None)["added"] == 6
    tasks = tasks_of(client, name)
    shown = [client.predictions.list(task=one.id)[0].result for one in tasks]
    given = [one["predictions"][0]["result"] for one in json.loads(storage.read_bytes("tasks.json"))]
    assert json.loads(json.dumps(shown)) == given, "what the server shows is what was pushed"
    edited = np.zeros(SIZE_HW, np.uint8)
    edited[10:50, 20:60] = np.linspace(0, 255, 40).astype(np.uint8)  # a brush leaves such edges
    _review(client, tasks, shown, edited, bitmask)
    before = [client.annotations.list(one.id) for one in tasks]
    assert push(server, storage, name, lambda _: None) == {"present": 6}
    assert [client.annotations.list(one.id) for one in tasks] == before, "a second push touches nobody's work"
    assert len(tasks_of(client, name)) == 6
    _check(reviews_of(client, name, tmp_path / "export.json"), edited, bitmask)


def _review(client: Any, tasks: list[Any], shown: list[Any], edited: np.ndarray, bitmask: bool) -> None:
    """Unchanged; edited; one deleted; one added; absent; cancelled. Sixth of all: nobody looks at the last but that."""
    results = copy.deepcopy(shown)
    if not bitmask:
        results[1][0]["value"]["rle"] = _alpha(edited)
    results[2] = results[2][2:]
    results[3].append(copy.deepcopy(results[3][2]) | {"id": "q8Xs1Zr2_a", "origin": "manual"})
    choice = tasks[4].data["asked"][0]["value"]
    results[4].append(
        {"id": "abc", "from_name": "absent", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}
    )
    for task, result in zip(tasks[:5], results[:5], strict=True):
        client.annotations.create(task.id, result=result, lead_time=12.5)
    client.annotations.create(tasks[5].id, result=results[5], was_cancelled=True)


def _alpha(values: np.ndarray) -> list[int]:
    """As a brush writes it: a stream in which no value is repeated."""
    header = encode_brush(np.zeros(SIZE_HW, bool))[:7]
    bits = "".join(f"{one:08b}" for one in header)[:53]
    flat = np.repeat(values.ravel(), 4)
    for start in range(0, flat.size, 1 << 16):
        some = flat[start : start + (1 << 16)]
        bits += "0" + "11" + f"{some.size - 1:016b}" + "".join(f"{one:08b}" for one in some)
    bits = (bits + "00000000").ljust(-(-len(bits) // 8) * 8 + 8, "0")
    data = [int(bits[place : place + 8], 2) for place in range(0, len(bits) - 7, 8)]
    np.testing.assert_array_equal(decode_brush(data, SIZE_HW), values)
    return data


def _check(found: dict[str, Any], edited: np.ndarray, bitmask: bool) -> None:
    assert sorted(found) == [f"id {number}" for number in range(6)]
    reviews = [found[f"id {number}"].reviews for number in range(6)]
    assert [len(one) for one in reviews] == [1, 1, 1, 1, 1, 0], "a cancelled annotation is no review"
    assert reviews[0][0].lead_time_s == 12.5
    for number, (review,) in enumerate(reviews[:5]):
        regions = {one.record: one for one in review.regions}
        for place, mask in enumerate(shapes()):
            if (number, place) == (2, 0):
                assert record_of(2, 0) not in regions
                continue
            expected = edited >= 128 if (number, place) == (1, 0) and not bitmask else mask
            region = regions[record_of(number, place)]
            np.testing.assert_array_equal(decode_mask(region.mask), expected)
            assert region.phrase == PHRASES[place]
            assert not region.is_lossy
    assert [len(one[0].regions) for one in reviews[:5]] == [4, 4, 3, 5, 4]
    assert sum(one.record is None for one in reviews[3][0].regions) == 1
    assert reviews[4][0].absent == (record_of(4, 0),)


def test_copied_images_are_uploaded_and_served(client: Any, server: str, tmp_path: Path) -> None:
    storage, written = Storage(str(tmp_path / "out")), LabelStudio(CLASSES, with_images=True)
    with Files(storage) as files:
        written.write("part-00000", masked_images(3), files)
        written.finish(["part-00000"], files)
    storage.write_bytes("images/a/2.png", png(picture()[::-1]))
    assert push(server, storage, "copies", lambda _: None) == {"added": 3}
    assert push(server, storage, "copies", lambda _: None) == {"present": 3}
    tasks = tasks_of(client, "copies")
    assert len({one.data["image"] for one in tasks}) == 2, "equal images are one upload"
    for one in tasks:
        request = urllib.request.Request(f"{server}{one.data['image']}", headers={"Authorization": f"Token {TOKEN}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == storage.read_bytes(f"images/{one.data['file_name']}")
    assert len(client.files.list(project_of(client, "copies (images)").id, all_=True)) == 2
    assert not tasks_of(client, "copies (images)")
    assert client.projects.get(project_of(client, "copies").id).task_number == 3
