"""A region from the attributes that this project's exports give it: `record`, `phrase`, `review`, `score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.review.readers.documents import loose_text, number, text, verdict
from litelvlm.pipeline.review.reviewed import ReviewedRegion


def region_of(
    mask: EncodedMask | None,
    attributes: Mapping[str, Any],
    place: str,
    *,
    label: str | None,
    is_lossy: bool,
    score: Any = None,
) -> ReviewedRegion | None:
    """The region; None where there is no mask or nothing is inside, which is as good as no region.

    A `score` of the tool's own wins over the attribute of that name. Raises ValueError where one is no number.
    """
    if mask is None or not mask.area:
        return None
    return ReviewedRegion(
        mask=mask,
        record=text(attributes.get("record"), place, "attribute record"),
        label=label,
        phrase=loose_text(attributes.get("phrase")),
        is_lossy=is_lossy,
        said=verdict(attributes.get("review")),
        score=number(attributes.get("score") if score is None else score, place, "score"),
    )
