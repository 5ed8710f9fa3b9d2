"""Regions from attributes."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.review.readers.regions import region_of

MASK = encode_mask(np.ones((2, 3), bool))


def test_attributes_become_fields() -> None:
    attributes = {"record": "k", "phrase": "a cat", "review": "Rejected", "score": "0.25"}
    region = region_of(MASK, attributes, "f", label="cat", is_lossy=True)
    assert region is not None
    assert (region.record, region.phrase, region.said, region.score) == ("k", "a cat", "rejected", 0.25)
    other = region_of(
        MASK, attributes | {"record": "", "review": "needs_review"}, "f", label=None, is_lossy=False, score=1
    )
    assert other is not None
    assert (other.record, other.said, other.score) == (None, None, 1.0)


def test_nothing_inside_is_no_region() -> None:
    assert region_of(None, {}, "f", label=None, is_lossy=False) is None
    assert region_of(encode_mask(np.zeros((2, 3), bool)), {}, "f", label=None, is_lossy=False) is None


@pytest.mark.parametrize("attributes", [{"score": "high"}, {"record": {}}, {"score": []}])
def test_attributes_of_the_wrong_kind(attributes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^f: "):
        region_of(MASK, attributes, "f", label=None, is_lossy=False)
