"""CVAT for images 1.1: `annotations.xml`, with masks as run lengths of their boxes and polygons."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.review.readers.documents import fault, integer, number, required_text, seconds, shown, size_hw
from litelvlm.pipeline.review.readers.pixels import from_crop_runs, from_rings
from litelvlm.pipeline.review.readers.regions import region_of
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion

_AREAS = ("mask", "polygon")
_OTHER_SHAPES = ("box", "ellipse", "cuboid", "skeleton")


def read_cvat_xml(root: Element, place: str) -> Iterator[ReviewedImage]:
    """Every image of a file, each with one review by whom its task or job is assigned to, at the time of the export.

    Raises ValueError naming the image or shape and what is wrong with it.
    """
    if root.find("track") is not None:
        raise fault(place, "holds tracks of a video; export it as `CVAT for images 1.1`")
    at = seconds((root.findtext("meta/dumped") or "").strip(), place, "dumped")
    everyone = _assignee(root, "meta/task") or _assignee(root, "meta/job")
    of_task = {
        (task.findtext("id") or "").strip(): _assignee(task, ".") for task in root.iterfind("meta/project/tasks/task")
    }
    for image in root.iterfind("image"):
        where = f"{place}: image {shown(image.get('id') or image.get('name') or '')}"
        yield _image(image, where, everyone or of_task.get(image.get("task_id") or ""), at)


def _image(image: Element, place: str, reviewer: str | None, at: float | None) -> ReviewedImage:
    size = size_hw(image.get("height"), image.get("width"), place)
    regions, boxes = list[ReviewedRegion](), list[tuple[Element, str]]()
    for index, shape in enumerate(image):
        where = f"{place}, {shown(shape.tag)} {index + 1}"
        if shape.tag in _OTHER_SHAPES:
            boxes.append((shape, where))
        region = _region(shape, size, where) if shape.tag in _AREAS else None
        if region is not None:
            regions.append(region)
    around = {(one.label, *map(round, one.mask.bbox_xywh)) for one in regions}
    for shape, where in boxes:
        if _box(shape) not in around:  # datumaro adds boxes of masks
            raise fault(where, "is no area that is read; expected masks and polygons")
    return ReviewedImage(
        file_name=required_text(image.get("name"), place, "name"),
        size_hw=size,
        reviews=(Review(regions=tuple(regions), reviewer=reviewer, reviewed_at=at),),
        place=place,
    )


def _box(shape: Element) -> tuple[str | None, int, int, int, int] | None:
    """Label, left, top, width and height of a box in whole pixels; None of anything else."""
    try:
        left, top, right, bottom = (round(float(shape.attrib[name])) for name in ("xtl", "ytl", "xbr", "ybr"))
    except (KeyError, ValueError, OverflowError):
        return None
    return shape.get("label") or None, left, top, right - left, bottom - top


def _region(shape: Element, size: tuple[int, int], place: str) -> ReviewedRegion | None:
    attributes = {one.get("name"): one.text for one in shape.iterfind("attribute")}
    return region_of(
        _mask(shape, size, place) if shape.tag == "mask" else _polygon(shape, size, place),
        {name: value for name, value in attributes.items() if name is not None},
        place,
        label=shape.get("label") or None,
        is_lossy=shape.tag == "polygon",
    )


def _mask(shape: Element, size: tuple[int, int], place: str) -> EncodedMask:
    left, top, width, height = (integer(shape.get(name), place, name) for name in ("left", "top", "width", "height"))
    try:
        runs = [int(run) for run in (shape.get("rle") or "").split(",")]
    except ValueError:
        raise fault(place, "its rle is no list of whole numbers") from None
    return from_crop_runs(runs, size, (left, top, width, height), place)


def _polygon(shape: Element, size: tuple[int, int], place: str) -> EncodedMask | None:
    ring = []
    for point in (shape.get("points") or "").split(";"):
        for value in point.split(","):
            found = number(value.strip(), place, "a point")
            if found is None:
                raise fault(place, "one of its points has no number")
            ring.append(found)
    return from_rings([ring], size, place)


def _assignee(element: Element, path: str) -> str | None:
    found = element.findtext(f"{path}/assignee/username") or element.findtext(f"{path}/assignee") or ""
    return found.strip() or None
