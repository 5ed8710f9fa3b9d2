"""Label Studio's JSON export: tasks with what each of their annotators left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from litelvlm.pipeline.masks import EncodedMask, encode_mask
from litelvlm.pipeline.review.readers.brush import decode_brush
from litelvlm.pipeline.review.readers.documents import (
    an_object,
    fault,
    loose_text,
    number,
    objects,
    record_key,
    required_text,
    seconds,
    shown,
    size_hw,
    text,
    verdict,
)
from litelvlm.pipeline.review.readers.pixels import INSIDE, from_data_url, from_rings
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion

ABSENT = "absent"  # `from_name` of the choices that list what is not in the image
_AREAS = {"brushlabels": "brush", "brush": "brush", "bitmasklabels": "bitmask", "bitmask": "bitmask"}
_AREAS |= {"polygonlabels": "polygon", "polygon": "polygon"}
_OTHER_SHAPES = ("rectangle", "rectanglelabels", "ellipse", "ellipselabels", "vector", "vectorlabels")
_UPLOADED = re.compile(r"/data/upload/\d+/(?:[0-9a-f]{8}-)?(?P<name>[^/]+)$")


def read_label_studio(content: Any, place: str) -> Iterator[ReviewedImage]:
    """Every task of an export. Cancelled annotations are none, of one user's the newest counts, predictions are none.

    Raises ValueError naming the task, annotation or region and what is wrong with it.
    """
    for index, task in enumerate(objects(content, place, "the export")):
        name = shown(task["id"]) if task.get("id") is not None else f"number {index + 1}"
        yield _Task(task=task, place=f"{place}: task {name}").image()


@dataclass(frozen=True)
class _Task:
    task: dict[str, Any]
    place: str

    @property
    def data(self) -> dict[str, Any]:
        return an_object(self.task.get("data"), self.place, "an object of data")

    def image(self) -> ReviewedImage:
        data, size = self.data, self._size()
        return ReviewedImage(
            file_name=_file_name(data, self.place),
            size_hw=size,
            reviews=tuple(self._review(one, place, size) for one, place in self._annotations()),
            place=self.place,
            records=self._records(),
            image_id=text(data.get("image_id"), self.place, "data.image_id"),
        )

    def _records(self) -> tuple[str, ...] | None:
        told = self.data.get("records")
        if told is None:
            return None
        if not isinstance(told, list):
            raise fault(self.place, "data.records is no list")
        return tuple(required_text(one, self.place, "text in data.records") for one in told)

    def _annotations(self) -> list[tuple[dict[str, Any], str]]:
        """Those that count, oldest first, each with its place."""
        newest: dict[Any, tuple[float, int]] = {}
        found = []
        for index, one in enumerate(objects(self.task.get("annotations"), self.place, "annotations")):
            place = f"{self.place}, annotation {shown(one.get('id', index + 1))}"
            if one.get("was_cancelled"):
                continue
            user = _user(one.get("completed_by"), place)
            when = _when(one, place)
            key = (when if when is not None else -math.inf, index)
            newest[user or index] = max(newest.get(user or index, key), key)
            found.append((key, one, place))
        kept = set(newest.values())
        return [(one, place) for key, one, place in sorted(found, key=lambda each: each[0]) if key in kept]

    def _size(self) -> tuple[int, int] | None:
        """Of the image in pixels, on which the task's data and all regions must agree."""
        data, size = self.data, None
        if data.get("width") is not None and data.get("height") is not None:
            size = size_hw(data["height"], data["width"], f"{self.place}, data")
        for annotation, place in self._annotations():
            for result in objects(annotation.get("result"), place, "result"):
                if _kind(result) is not None:
                    size = _agreed(size, result, f"{place}, region {shown(result.get('id'))}")
        return size

    def _review(self, one: dict[str, Any], place: str, size: tuple[int, int] | None) -> Review:
        results = list(objects(one.get("result"), place, "result"))
        texts, said = _texts(results), _said(results, place)
        regions: dict[str, ReviewedRegion | None] = {}
        for result in results:
            where = f"{place}, region {shown(result.get('id'))}"
            if result.get("type") in _OTHER_SHAPES:
                raise fault(where, f"is a {result['type']}; expected brush, bitmask or polygon labels")
            if _kind(result) is None or size is None:
                continue
            key = required_text(result.get("id"), where, "id")
            if key in regions:
                raise fault(where, "stands there twice: one annotation has two masks of that id")
            regions[key] = _region(result, size, where, texts.get(key), said.get(key))
        spent = number(one.get("lead_time"), place, "lead_time")
        return Review(
            regions=tuple(region for region in regions.values() if region is not None),
            absent=self._absent(results, place),
            reviewer=_user(one.get("completed_by"), place),
            reviewed_at=_when(one, place),
            lead_time_s=spent,
        )

    def _absent(self, results: list[dict[str, Any]], place: str) -> tuple[str, ...]:
        records = an_object(self.data.get("record_of") or {}, self.place, "an object in data.record_of")
        choices = [choice for one in results if one.get("from_name") == ABSENT for choice in _choices(one, place)]
        found = [required_text(records.get(choice, choice), place, "text of an absent phrase") for choice in choices]
        return tuple(dict.fromkeys(found))


def _kind(result: Mapping[str, Any]) -> str | None:
    """How a result keeps an area; None where it is something else."""
    kind = result.get("type")
    return _AREAS.get(kind) if isinstance(kind, str) else None


def _agreed(size: tuple[int, int] | None, result: dict[str, Any], place: str) -> tuple[int, int]:
    turned = number(result.get("image_rotation"), place, "image_rotation")
    if turned:
        raise fault(place, f"was drawn on an image turned by {turned:g} degrees (image_rotation), which is not read")
    found = size_hw(result.get("original_height"), result.get("original_width"), place)
    if size is not None and found != size:
        reason = ": was the image turned by its EXIF orientation?" if found == size[::-1] else ""
        raise fault(
            place,
            f"is of an image of {found[0]}x{found[1]}, elsewhere the task's is {size[0]}x{size[1]} "
            f"(height x width){reason or '; EXIF orientation or another image may be the reason'}",
        )
    return found


def _region(
    result: dict[str, Any], size: tuple[int, int], place: str, phrase: str | None, said: str | None
) -> ReviewedRegion | None:
    kind, value = _kind(result), an_object(result.get("value"), place, "an object of a value")
    mask = _mask(kind, value, size, place)
    if mask is None or not mask.area:
        return None
    labels = value.get(result["type"]) or value.get("labels")
    return ReviewedRegion(
        mask=mask,
        record=record_key(result.get("id")),
        label=loose_text(labels[0]) if isinstance(labels, list) and labels else None,
        phrase=phrase,
        is_lossy=kind == "polygon",
        said=said,
        score=number(result.get("score"), place, "score"),
    )


def _mask(kind: str | None, value: dict[str, Any], size: tuple[int, int], place: str) -> EncodedMask | None:
    if kind == "bitmask":
        return from_data_url(value.get("imageDataURL"), size, place)
    if kind == "polygon":
        return _polygon(value.get("points"), size, place)
    if value.get("format") != "rle":
        raise fault(place, f"its brush has the format {shown(value.get('format'))}; expected rle")
    try:
        return encode_mask(decode_brush(value.get("rle"), size) >= INSIDE)
    except ValueError as error:
        raise fault(place, str(error)) from None


def _polygon(points: Any, size: tuple[int, int], place: str) -> EncodedMask | None:
    """Of points in percent of the image's sides."""
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise fault(place, "its points are no list of [x, y]")
    ring = []
    for x, y in points:
        across, down = number(x, place, "x"), number(y, place, "y")
        if across is None or down is None:
            raise fault(place, "one of its points has no number")
        ring += [across * size[1] / 100, down * size[0] / 100]
    return from_rings([ring], size, place)


def _texts(results: list[dict[str, Any]]) -> dict[str, str]:
    """Phrases by the ids of their regions: what text areas of that id hold, whatever else they repeat."""
    found: dict[str, str] = {}
    for one in results:
        value, key = one.get("value"), one.get("id")
        if one.get("type") == "textarea" and isinstance(value, dict) and isinstance(key, str):
            lines = value.get("text")
            words = [loose_text(line) for line in (lines if isinstance(lines, list) else [lines])]
            joined = " ".join(word for word in words if word)
            if joined:
                found.setdefault(key, joined)
    return found


def _said(results: list[dict[str, Any]], place: str) -> dict[str, str]:
    """What choices say of regions, by their ids."""
    found: dict[str, str] = {}
    for one in results:
        key = one.get("id")
        for choice in _choices(one, place) if isinstance(key, str) and one.get("from_name") != ABSENT else ():
            word = verdict(choice)
            if word is not None and isinstance(key, str):
                found[key] = word
    return found


def _choices(result: Mapping[str, Any], place: str) -> list[str]:
    value = result.get("value")
    if result.get("type") != "choices" or not isinstance(value, dict):
        return []
    found = value.get("choices")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise fault(place, "its choices are no list of texts")
    return found


def _user(value: Any, place: str) -> str | None:
    if isinstance(value, dict):
        return text(value.get("email"), place, "email") or text(value.get("id"), place, "id of completed_by")
    return text(value, place, "completed_by")


def _when(annotation: dict[str, Any], place: str) -> float | None:
    updated = seconds(annotation.get("updated_at"), place, "updated_at")
    return updated if updated is not None else seconds(annotation.get("created_at"), place, "created_at")


def _file_name(data: dict[str, Any], place: str) -> str:
    """The name that this project gave, else what is left of the image's address."""
    told = text(data.get("file_name"), place, "data.file_name")
    if told is not None:
        return told
    address = required_text(data.get("image"), place, "data.file_name or data.image")
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if parts.path.rstrip("/").endswith("/data/local-files") and parse_qs(parts.query).get("d"):
        return parse_qs(parts.query)["d"][0]
    uploaded = _UPLOADED.search(parts.path)
    if uploaded:
        return unquote(uploaded["name"])
    if parts.scheme in ("http", "https"):
        return unquote(f"{parts.scheme}://{parts.netloc}{parts.path}")
    return address if parts.scheme else unquote(address)
