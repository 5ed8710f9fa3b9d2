"""Which answers of an image stand where its phrases are those of classes.

Non-maximum suppression as of object detectors, within a class and by masks; before it, thresholds and negative prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.ontology import ClassPrompt
from litelvlm.pipeline.shards.payload import Answer, Draft

COVERED = 0.5  # of a mask's area, above which a negative prompt's mask removes it


class _Found(NamedTuple):
    draft: Draft
    asks: ClassPrompt
    answer: Answer


def suppress(drafts: Sequence[Draft], same_object_iou: float) -> None:
    """Note on the drafts of one image why their answers do not stand, where they do not.

    In this order: answers with a score below their class's threshold; those to negative prompts; those of which the
    mask of a negative prompt that is left covers more than it does not; of masks of a class that are one object all but
    the one with the best score, the earlier of equals. Empty masks and drafts of no class are left alone.
    """
    found = [_Found(one, one.asks, one.answer) for one in drafts if one.asks and one.answer and _is_mask(one)]
    for draft, asks, answer in found:
        if answer.score < asks.category.score_threshold:
            draft.dropped = f"score: {answer.score:.3f} is below {asks.category.score_threshold:g}"
    negatives = [one for one in found if one.draft.dropped is None and one.asks.excludes]
    for draft, asks, _ in negatives:
        if asks.is_negative:
            draft.dropped = f"negative: asked for what {asks.category.name} is not"
    for negative in negatives:
        _drop_covered(found, negative)
    _drop_duplicates([one for one in found if one.draft.dropped is None], same_object_iou)


def _is_mask(draft: Draft) -> bool:
    return draft.error is None and draft.answer is not None and draft.answer.mask.area > 0


def _drop_covered(found: Sequence[_Found], negative: _Found) -> None:
    for draft, asks, answer in found:
        if draft.dropped is None and asks.category.id in negative.asks.excludes:
            share = _covered(answer.mask, negative.answer.mask)
            if share > COVERED:
                draft.dropped = f"covered: what {negative.draft.phrase!r} found covers {share:.0%} of it"


def _drop_duplicates(found: Sequence[_Found], same_object_iou: float) -> None:
    by_class: dict[int, list[_Found]] = {}
    for one in sorted(found, key=lambda one: -one.answer.score):  # stable: the earlier of equals first
        kept = by_class.setdefault(one.asks.category.id, [])
        overlaps = _ious(one.answer.mask, [rival.answer.mask for rival in kept])
        best = max(range(len(kept)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= same_object_iou:
            one.draft.dropped = f"duplicate: of what {kept[best].draft.phrase!r} found, IoU {overlaps[best]:.2f}"
        else:
            kept.append(one)


def _ious(mask: EncodedMask, others: Sequence[EncodedMask]) -> list[float]:
    if not others:
        return []
    found: list[float] = coco_mask.iou([_rle(mask)], [_rle(other) for other in others], [0] * len(others))[0].tolist()
    return found


def _covered(mask: EncodedMask, cover: EncodedMask) -> float:
    """Share of a mask's area below another."""
    both = coco_mask.area(coco_mask.merge([_rle(mask), _rle(cover)], intersect=True))
    return float(both) / mask.area


def _rle(mask: EncodedMask) -> dict[str, Any]:
    return {"size": list(mask.size_hw), "counts": mask.counts.encode("ascii")}
