"""CVAT's task and project backups, and what its SDK gives of a task: shapes as the server keeps them.

A backup holds for each task `task.json` (what was asked), `annotations.json` (the shapes of each job) and
`data/manifest.jsonl` (the frames).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.review.readers.documents import (
    an_object,
    fault,
    integer,
    loose_text,
    objects,
    read_json,
    required_text,
    shown,
    size_hw,
    text,
)
from litelvlm.pipeline.review.readers.files import Document
from litelvlm.pipeline.review.readers.pixels import from_crop_runs, from_rings
from litelvlm.pipeline.review.readers.regions import region_of
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion

_OTHER_SHAPES = ("rectangle", "ellipse", "cuboid", "skeleton")
_STEP = re.compile(r"\s*step\s*=\s*([1-9]\d{0,8})\s*", re.ASCII)
_MAX_FRAMES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class _Frame:
    name: str
    size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class _Labels:
    """Names of labels by their ids, and of attributes by theirs."""

    names: dict[int, str | None] = field(default_factory=dict)
    attributes: dict[int, str] = field(default_factory=dict)


def read_cvat_backup(document: Document, content: Any) -> Iterator[ReviewedImage]:
    """Every frame that was not deleted, with a review for each job that it is in.

    `document` is an `annotations.json` with its siblings. Raises ValueError naming the job or shape and what is wrong.
    """
    folder = document.name.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    task = an_object(_beside(document, f"{prefix}task.json"), document.place, "an object in task.json")
    data = an_object(task.get("data") or {}, document.place, "an object of data in task.json")
    frames = _chosen(_manifest(document, f"{prefix}data/manifest.jsonl"), data, document.place)
    deleted = _deleted(data, document.place)
    jobs = list(objects(task.get("jobs"), document.place, "jobs"))
    done = list(objects(content, document.place, "the annotations"))
    if len(jobs) != len(done):
        raise fault(document.place, f"holds annotations of {len(done)} jobs, task.json tells of {len(jobs)}")
    reviews: dict[int, list[Review]] = defaultdict(list)
    for index, (job, left) in enumerate(zip(jobs, done, strict=True), start=1):
        place = f"{document.place}: job {index}"
        name = f"job {index}" if len(jobs) > 1 else None
        found = _regions(left, frames, _Labels(), place)
        for number in _frames_of(job, len(frames), place):
            reviews[number].append(Review(regions=tuple(found.pop(number, ())), reviewer=name))
        if found:
            raise fault(place, f"holds shapes on frame {min(found)}, which is not one of its own")
    for number, frame in frames.items():
        yield _image(frame, () if number in deleted else tuple(reviews[number]), f"{document.place}: frame {number}")


def read_cvat_shapes(content: Any, place: str) -> Iterator[ReviewedImage]:
    """Every frame of `{"frames": …, "labels": …, "shapes": …}` as cvat-sdk gives them, each with one review.

    Raises ValueError naming the frame or shape and what is wrong with it.
    """
    whole = an_object(content, place)
    frames = {
        number: _frame(one, f"{place}: frame {number}")
        for number, one in enumerate(objects(whole.get("frames"), place, "frames"))
    }
    deleted = _deleted(whole, place)
    found = _regions(whole, frames, _labels(whole.get("labels"), place), place)
    for number, frame in frames.items():
        reviews = () if number in deleted else (Review(regions=tuple(found.get(number, ()))),)
        yield _image(frame, reviews, f"{place}: frame {number}")


def _deleted(data: Mapping[str, Any], place: str) -> set[int]:
    told = data.get("deleted_frames") or ()
    if not isinstance(told, list | tuple):
        raise fault(place, "deleted_frames is no list")
    return {integer(one, place, "a deleted frame") for one in told}


def _image(frame: _Frame, reviews: tuple[Review, ...], place: str) -> ReviewedImage:
    return ReviewedImage(file_name=frame.name, size_hw=frame.size, reviews=reviews, place=place)


def _beside(document: Document, name: str) -> Any:
    if name not in document.siblings:
        raise fault(
            document.place, f"has no {shown(name)} beside it; give the whole backup, as the zip that CVAT wrote"
        )
    return read_json(document.sibling(name), f"{document.place} ({shown(name)})")


def _manifest(document: Document, name: str) -> list[_Frame]:
    """The frames that a manifest lists, after a line for its version and one for its kind."""
    if name not in document.siblings:
        raise fault(document.place, f"has no {shown(name)} beside it, which names the frames")
    found = []
    for number, line in enumerate(document.sibling(name).splitlines(), start=1):
        place = f"{document.place} ({shown(name)}, line {number})"
        one = an_object(read_json(line, place), place) if line.strip() else {}
        if "name" in one:
            extension = text(one.get("extension"), place, "extension") or ""
            found.append(_frame(one | {"name": required_text(one["name"], place, "name") + extension}, place))
    return found


def _frame(one: Mapping[str, Any], place: str) -> _Frame:
    has_size = one.get("height") is not None
    size = size_hw(one.get("height"), one.get("width"), place) if has_size else None
    return _Frame(name=required_text(one.get("name"), place, "name"), size=size)


def _chosen(listed: list[_Frame], data: Mapping[str, Any], place: str) -> dict[int, _Frame]:
    """The task's frames by the numbers that shapes have: from `start_frame` on, every so many."""
    start = integer(data.get("start_frame") or 0, place, "start_frame")
    told = text(data.get("frame_filter"), place, "frame_filter")
    step = _STEP.fullmatch(told) if told else None
    if start < 0 or (told and step is None):
        raise fault(place, "its start_frame or frame_filter is none that is read")
    stop = integer(data.get("stop_frame") or 0, place, "stop_frame")
    some = listed[start :: int(step[1]) if step else 1] if len(listed) > stop else listed
    return dict(enumerate(some))


def _frames_of(job: Mapping[str, Any], count: int, place: str) -> list[int]:
    if isinstance(job.get("frames"), list) and job["frames"]:  # of a ground truth job
        found = [integer(one, place, "a frame") for one in job["frames"][:_MAX_FRAMES]]
    else:
        first, last = (integer(job.get(name), place, name) for name in ("start_frame", "stop_frame"))
        found = list(range(max(first, -1), min(last, count) + 1))
    if not all(0 <= number < count for number in found) or len(set(found)) != len(found):
        raise fault(place, f"its frames are not among the {count} of the task")
    return found


def _regions(
    annotations: Mapping[str, Any], frames: Mapping[int, _Frame], labels: _Labels, place: str
) -> dict[int, list[ReviewedRegion]]:
    """Regions by the number of their frame."""
    if annotations.get("tracks"):
        raise fault(place, "holds tracks of a video, which are not read")
    found: dict[int, list[ReviewedRegion]] = defaultdict(list)
    for index, shape in enumerate(objects(annotations.get("shapes"), place, "shapes"), start=1):
        where = f"{place}, shape {shown(shape.get('id', index))}"
        number = integer(shape.get("frame"), where, "frame")
        if number not in frames:
            raise fault(where, f"is on frame {number}, of which nothing is told")
        region = _region(shape, frames[number].size, labels, where)
        if region is not None:
            found[number].append(region)
    return found


def _region(
    shape: Mapping[str, Any], size: tuple[int, int] | None, labels: _Labels, place: str
) -> ReviewedRegion | None:
    kind = shape.get("type")
    if kind in _OTHER_SHAPES:
        raise fault(place, f"is a {kind}; expected masks and polygons")
    if kind not in ("mask", "polygon"):
        return None
    if size is None:
        raise fault(place, "its frame has no width and height")
    points = shape.get("points")
    if not isinstance(points, list):
        raise fault(place, "its points are no list")
    attributes = _attributes(shape, labels, place)
    is_rated = shape.get("source") != "manual" and not attributes.get("score")  # by the server, which begins with 1.0
    return region_of(
        _mask(points, size, place) if kind == "mask" else from_rings([points], size, place),
        attributes,
        place,
        label=loose_text(shape.get("label")) or _label(shape, labels, place),
        is_lossy=kind == "polygon",
        score=shape.get("score") if is_rated else None,
    )


def _mask(points: list[Any], size: tuple[int, int], place: str) -> EncodedMask:
    """Of run lengths along the rows of a box, and after them its first and last column and row: x, y, x, y."""
    if len(points) < 5:
        raise fault(place, f"its mask has {len(points)} numbers; expected run lengths and a box")
    left, top, right, bottom = (integer(one, place, "a side of its box") for one in points[-4:])
    return from_crop_runs(points[:-4], size, (left, top, right - left + 1, bottom - top + 1), place)


def _attributes(shape: Mapping[str, Any], labels: _Labels, place: str) -> dict[str, Any]:
    found = {}
    for one in objects(shape.get("attributes"), place, "attributes"):
        name = loose_text(one.get("name"))
        if name is None and one.get("spec_id") is not None:
            name = labels.attributes.get(integer(one["spec_id"], place, "spec_id"))
        if name is not None:
            found[name] = one.get("value")
    return found


def _label(shape: Mapping[str, Any], labels: _Labels, place: str) -> str | None:
    number = shape.get("label_id")
    return None if number is None else labels.names.get(integer(number, place, "label_id"))


def _labels(value: Any, place: str) -> _Labels:
    found = _Labels()
    for one in objects(value, place, "labels"):
        found.names[integer(one.get("id"), place, "a label's id")] = loose_text(one.get("name"))
        for spec in objects(one.get("attributes"), place, "a label's attributes"):
            name = loose_text(spec.get("name"))
            if name is not None:
                found.attributes[integer(spec.get("id"), place, "an attribute's id")] = name
    return found
