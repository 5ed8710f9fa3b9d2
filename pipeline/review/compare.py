"""What a reviewer did to each record of an image: regions beside the masks that the run had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from litelvlm.pipeline.boundary import boundary_f
from litelvlm.pipeline.masks import EncodedMask, decode_mask, mask_overlap
from litelvlm.pipeline.review.edits import (
    ABSENT,
    ADDED,
    EDIT_SCHEMA,
    EDITED,
    REJECTED,
    UNCHANGED,
    UNSEEN,
    Row,
    mask_of,
)
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion
from litelvlm.pipeline.schemas import STATUS_DROPPED, STATUS_FAILED, STATUS_OK

SAME_OUTLINE_IOU = 0.98  # from which on an outline is the mask that it was traced from
_SAME_OBJECT_IOU = 0.5  # from which on a region without a key may be a record's


def compare(image: ReviewedImage, records: Sequence[Row]) -> list[Row]:
    """Rows of `EDIT_SCHEMA`: one for each record that was shown and for each addition, times reviews.

    Raises:
        ValueError: the image has another size than in the run, or names records that it does not have.
    """
    _check(image, records)
    shown = [row for row in records if _is_shown(row, image)]
    if not image.reviews:
        return [_edit(row, UNSEEN) for row in shown]
    return [edit for review in image.reviews for edit in _of_review(review, shown, records)]


def unseen(record: Row) -> Row:
    """A row for a record that no file mentions."""
    return _edit(record, UNSEEN)


def _check(image: ReviewedImage, records: Sequence[Row]) -> None:
    first = next((row for row in records if row["height"] is not None), None)
    if first is None:
        raise ValueError("the run could not decode this image")
    size = first["height"], first["width"]
    sizes = {region.mask.size_hw for review in image.reviews for region in review.regions}
    sizes |= {image.size_hw} if image.size_hw else set()
    for found in sizes - {size}:
        turned = "; the tool may have ignored its EXIF orientation" if found == size[::-1] else ""
        raise ValueError(f"it is {found[1]}x{found[0]} here and {size[1]}x{size[0]} in the run{turned}")
    known = {row["record"] for row in records}
    given = [*(image.records or ()), *(key for review in image.reviews for key in review.shapeless)]
    given += [one.record for review in image.reviews for one in review.regions if one.record]
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        raise ValueError(f"the run's image has no record {unknown[:60]!r}")


def _is_shown(row: Row, image: ReviewedImage) -> bool:
    """Without a list, tools show masks alone."""
    return row["record"] in image.records if image.records is not None else row["status"] == STATUS_OK


def _of_review(review: Review, shown: Sequence[Row], records: Sequence[Row]) -> list[Row]:
    regions, additions = _matched(review.regions, shown, records)
    absent = _absent(review.absent, shown)
    edits = []
    for row in shown:
        region = regions.pop(row["record"], None)
        if region is None and row["record"] in review.shapeless and row["mask_rle"]:
            edits.append(_edit(row, UNCHANGED, mask=mask_of(row), is_lossy=True))
        else:
            edits.append(_judged(row, region, is_absent=row["record"] in absent))
    by_record = {row["record"]: row for row in records}
    edits += [_judged(by_record[key], region, is_absent=False) for key, region in regions.items()]
    edits += [_added(records[0], region) for region in additions]
    told = {"reviewer": review.reviewer, "reviewed_at": review.reviewed_at, "lead_time_s": review.lead_time_s}
    return [edit | told for edit in edits]


def _matched(
    regions: Iterable[ReviewedRegion], shown: Sequence[Row], records: Sequence[Row]
) -> tuple[dict[str, ReviewedRegion], list[ReviewedRegion]]:
    """Regions by the records that they are, and those that are none's."""
    by_record = {row["record"]: row for row in records}
    matched: dict[str, ReviewedRegion] = {}
    keyed, rest = [one for one in regions if one.record], [one for one in regions if not one.record]
    for region in keyed:
        before = matched.get(str(region.record))
        if before is not None:  # a copy of a region has its key
            first, second = sorted((before, region), key=lambda one: -_overlap(by_record[str(one.record)], one))
            rest.append(second)
            region = first
        matched[str(region.record)] = region
    lost = [] if keyed else [row for row in shown if row["mask_rle"]]
    for region, row in _pairs(rest, lost):
        matched[row["record"]] = region
        rest.remove(region)
    for region in list(rest):  # drawn for a phrase that nothing was found for
        names = {_plain(region.label), _plain(region.phrase)} - {""}
        free = [row for row in records if not row["mask_rle"] and row["record"] not in matched]
        asked = next((row for row in free if _plain(row["phrase"]) in names), None)
        if asked is not None:
            matched[asked["record"]] = region
            rest.remove(region)
    return matched, rest


def _pairs(regions: Sequence[ReviewedRegion], rows: Sequence[Row]) -> list[tuple[ReviewedRegion, Row]]:
    """Regions of a tool that kept no keys, with the records that they overlap most: of the same name first."""
    ranked = []
    for at, region in enumerate(regions):
        names = {_plain(region.label), _plain(region.phrase)} - {""}
        for place, row in enumerate(rows):
            overlap = _overlap(row, region)
            named = bool(names & {_plain(row["phrase"]), _plain(row["category"])})
            if overlap >= _SAME_OBJECT_IOU and (named or not region.phrase):
                ranked.append((_plain(row["phrase"]) in names, overlap, -place, -at))
    taken_rows, taken, pairs = set[int](), set[int](), []
    for _, _, place, at in sorted(ranked, reverse=True):
        if place not in taken_rows and at not in taken:
            taken_rows.add(place)
            taken.add(at)
            pairs.append((regions[-at], rows[-place]))
    return pairs


def _judged(row: Row, region: ReviewedRegion | None, *, is_absent: bool) -> Row:
    """What became of a record."""
    if is_absent:
        return _edit(row, ABSENT, mask=None)
    if not row["mask_rle"] or row["status"] == STATUS_DROPPED:
        if region is not None:
            return _edit(row, ADDED, mask=region.mask, is_lossy=region.is_lossy)
        return _edit(row, UNSEEN if row["status"] == STATUS_FAILED else UNCHANGED, mask=None)
    if region is None or region.said == "rejected":
        return _edit(row, REJECTED, mask=None)
    overlap = _overlap(row, region)
    if overlap == 1.0 or (region.is_lossy and overlap >= SAME_OUTLINE_IOU):
        return _edit(row, UNCHANGED, mask=mask_of(row), is_lossy=region.is_lossy)
    return _edit(row, EDITED, mask=region.mask, is_lossy=region.is_lossy)


def _added(beside: Row, region: ReviewedRegion) -> Row:
    """A region that began as no record of the image that `beside` is of."""
    same = ("image_id", "file_name", "height", "width", "source_file", "source_row")
    row = dict.fromkeys(EDIT_SCHEMA.names) | {name: beside[name] for name in same}
    row |= {"phrase": region.phrase or region.label, "category": region.label}
    return _edit(row, ADDED, mask=region.mask, is_lossy=region.is_lossy)


def _edit(row: Row, verdict: str, *, mask: EncodedMask | None = None, is_lossy: bool = False) -> Row:
    edit = {name: row.get(name) for name in EDIT_SCHEMA.names}
    edit |= {"verdict": verdict, "is_lossy": is_lossy, "num_reviews": 0 if verdict == UNSEEN else 1}
    edit |= {"mask_rle": None, "area": None, "bbox_xywh": None}
    if mask is not None:
        edit |= {"mask_rle": mask.counts, "area": mask.area, "bbox_xywh": list(mask.bbox_xywh)}
    return edit if verdict == UNSEEN else edit | _difference(row, verdict, mask)


def _difference(row: Row, verdict: str, mask: EncodedMask | None) -> dict[str, Any]:
    """How far the reviewed mask is from the run's, none being empty."""
    if verdict == UNCHANGED:
        return {"iou": 1.0, "boundary_f": 1.0, "changed_pixels": 0}
    size_hw = row["height"], row["width"]
    before, after = (
        np.zeros(size_hw, bool) if one is None else decode_mask(one)
        for one in (mask_of(row) if row.get("mask_rle") else None, mask)
    )
    union = int((before | after).sum())
    return {
        "iou": float((before & after).sum() / union) if union else 1.0,
        "boundary_f": boundary_f(before, after),
        "changed_pixels": int((before ^ after).sum()),
    }


def _overlap(row: Row, region: ReviewedRegion) -> float:
    if not row["mask_rle"]:
        return 0.0
    common, union = mask_overlap(mask_of(row), region.mask)
    return common / union if union else 1.0


def _absent(said: Iterable[str], shown: Sequence[Row]) -> set[str]:
    """Keys of the records that a reviewer calls absent, by key or by phrase."""
    names = {_plain(one) for one in said}
    return {row["record"] for row in shown if _plain(row["record"]) in names or _plain(row["phrase"]) in names}


def _plain(text: str | None) -> str:
    return " ".join((text or "").casefold().split())
