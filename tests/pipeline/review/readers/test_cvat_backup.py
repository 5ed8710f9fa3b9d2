"""CVAT's backups and what its SDK gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import encode_mask, mask_iou
from litelvlm.pipeline.review.readers.cvat_backup import read_cvat_backup, read_cvat_shapes
from litelvlm.pipeline.review.readers.files import Document
from litelvlm.pipeline.review.reviewed import ReviewedImage
from tests.pipeline.review.readers.written import KEYS, NAME, SIZE, cvat_backup, cvat_shape, cvat_shapes, masks

FOUND = masks()


def _read(members: dict[str, bytes]) -> list[ReviewedImage]:
    document = Document(
        name="annotations.json",
        place="f",
        load=lambda: members["annotations.json"],
        siblings=frozenset(members),
        sibling=members.__getitem__,
    )
    return list(read_cvat_backup(document, json.loads(document.load())))


def _changed(members: dict[str, bytes], name: str, change: Any) -> dict[str, bytes]:
    content = json.loads(members[name])
    change(content)
    return members | {name: json.dumps(content).encode()}


def test_frames_are_images_by_the_manifest() -> None:
    first, second = _read(cvat_backup(FOUND))
    assert (first.file_name, first.size_hw, first.place) == (NAME, SIZE, "f: frame 0")
    assert [one.mask for one in first.reviews[0].regions] == [encode_mask(mask) for mask in FOUND]
    assert (second.file_name, second.size_hw, second.reviews[0].regions) == ("next.png", (3, 4), ())


def test_a_deleted_frame_has_no_review() -> None:
    assert [len(one.reviews) for one in _read(cvat_backup([], deleted_frames=[1]))] == [1, 0]


def test_frames_begin_where_the_task_does() -> None:
    members = cvat_backup([], start_frame=1, frame_filter="step=2")
    members = _changed(members, "task.json", lambda task: task["jobs"][0].update(stop_frame=0))
    assert [one.file_name for one in _read(members)] == ["next.png"]


def test_jobs_that_share_frames_are_several_reviews() -> None:
    def more(task: dict[str, Any]) -> None:
        task["jobs"].append({"start_frame": 0, "stop_frame": 1, "frames": [0], "type": "ground_truth"})

    members = _changed(cvat_backup(FOUND[:2]), "task.json", more)
    shapes = [cvat_shape(0, FOUND[0])]
    members = _changed(members, "annotations.json", lambda jobs: jobs.append({"shapes": shapes, "tracks": []}))
    first, second = _read(members)
    assert [(one.reviewer, len(one.regions)) for one in first.reviews] == [("job 1", 2), ("job 2", 1)]
    assert [one.reviewer for one in second.reviews] == ["job 1"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("task.json", lambda task: task["jobs"].clear(), "task.json tells of 0"),
        ("task.json", lambda task: task["jobs"][0].update(stop_frame=10**9), "not among the 2"),
        ("task.json", lambda task: task["jobs"][0].update(start_frame=-5), "not among the 2"),
        ("task.json", lambda task: task["jobs"][0].update(frames=[0, 0]), "not among the 2"),
        ("task.json", lambda task: task["jobs"][0].update(frames=[1]), "shapes on frame 0"),
        ("task.json", lambda task: task["data"].update(start_frame=-1), "start_frame"),
        ("task.json", lambda task: task["data"].update(frame_filter="all"), "frame_filter"),
        ("task.json", lambda task: task["data"].update(deleted_frames=5), "deleted_frames"),
        ("annotations.json", lambda jobs: jobs[0].update(tracks=[{}]), "tracks"),
        ("annotations.json", lambda jobs: jobs[0]["shapes"][0].update(frame=2), "frame 2, of which nothing"),
        ("annotations.json", lambda jobs: jobs[0]["shapes"][0].update(type="rectangle"), "is a rectangle"),
        ("annotations.json", lambda jobs: jobs[0]["shapes"][0].update(points=[1, 2]), "2 numbers"),
        ("annotations.json", lambda jobs: jobs[0]["shapes"][0].update(points=5), "points"),
        ("annotations.json", lambda jobs: jobs[0]["shapes"][0]["points"].__setitem__(-1, 99), "EXIF"),
        ("annotations.json", lambda jobs: jobs[0]["shapes"][0]["points"].__setitem__(0, 0.5), "do not fill"),
    ],
)
def test_what_is_refused(name: str, change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _read(_changed(cvat_backup(FOUND[:1]), name, change))


def test_what_must_lie_beside() -> None:
    for name in ("task.json", "data/manifest.jsonl"):
        members = cvat_backup([])
        del members[name]
        with pytest.raises(ValueError, match=f"has no {name} beside it"):
            _read(members)
    with pytest.raises(ValueError, match=r"manifest\.jsonl, line 1\): is no JSON"):
        _read(cvat_backup([]) | {"data/manifest.jsonl": b"{"})


def test_shapes_of_the_sdk_by_ids_of_labels_and_attributes() -> None:
    (image,) = read_cvat_shapes(cvat_shapes(FOUND), "f")
    assert [one.mask for one in image.reviews[0].regions] == [encode_mask(mask) for mask in FOUND]
    assert [one.record for one in image.reviews[0].regions] == KEYS[: len(FOUND)]
    content = cvat_shapes(FOUND[:1]) | {"deleted_frames": [0]}
    assert [one.reviews for one in read_cvat_shapes(content, "f")] == [()]


def test_the_server_s_own_score_is_the_last_resort() -> None:
    content = cvat_shapes(FOUND[:3])
    for shape in content["shapes"][:2]:
        shape["attributes"] = [{"spec_id": 11, "value": KEYS[0]}, {"spec_id": 99, "value": "?"}]
    content["shapes"][0] |= {"source": "auto", "score": 0.7}
    content["shapes"][1] |= {"source": "manual", "score": 1.0}
    (image,) = read_cvat_shapes(content, "f")
    assert [one.score for one in image.reviews[0].regions] == [0.7, None, 0.5]


def test_polygons_are_lossy() -> None:
    content = cvat_shapes([])
    content["shapes"] = [{"type": "polygon", "frame": 0, "label_id": 5, "points": [2, 2, 12, 2, 12, 12, 2, 12]}]
    content["shapes"].append({"type": "points", "frame": 0, "points": [1, 1]})
    (image,) = read_cvat_shapes(content, "f")
    (region,) = image.reviews[0].regions
    expected = np.zeros(SIZE, bool)
    expected[2:12, 2:12] = True
    assert (region.is_lossy, region.label) == (True, "thing")
    assert mask_iou(region.mask, encode_mask(expected)) > 0.95
