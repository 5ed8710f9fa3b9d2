"""Which patches are inside, what CLIP is asked, and what becomes of records that cannot be measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from litelvlm import PromptTemplate
from litelvlm.evaluation.similarity.config import WhatIsCompared
from litelvlm.evaluation.similarity.measure import SimilarityMeter
from litelvlm.patch_similarity import Similarity
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.shards.payload import Draft, ImageWork
from litelvlm.preprocess import PreparedImage
from tests.evaluation.masks import box

V = 16  # patches of 4x4 pixels in an image of 16x16


class FakeSimilarity:
    """The similarity of a patch is its index, times 1 for the first text, 2 for the second, and so on."""

    checkpoint = SimpleNamespace(config=SimpleNamespace(num_visual_tokens=V))

    def __init__(self) -> None:
        self.texts: list[Sequence[str]] = []

    def __call__(self, images: Sequence[np.ndarray], texts: Sequence[Sequence[str]]) -> list[Similarity]:
        assert len(images) == len(texts)
        self.texts += texts
        rows = [np.outer(np.arange(1, len(own) + 1), np.arange(V)).astype(np.float32) for own in texts]
        return [Similarity(product, product / 100) for product in rows]


def image(*drafts: Draft, readable: bool = True) -> ImageWork:
    pixels = np.zeros((16, 16, 3), np.uint8)
    prepared = PreparedImage(clip_pixels=pixels, sam_pixels=pixels, original_size_hw=(16, 16)) if readable else None
    return ImageWork(
        image_id="i", image_key="k", file_name="i.png", drafts=list(drafts), height=16, width=16, prepared=prepared
    )


def draft(index: int, *mask: int, **changes: Any) -> Draft:
    """A phrase that means a box, or nothing where none is given."""
    truth = encode_mask(box(16, 16, *mask)) if mask else None
    phrase = f"phrase {index}"
    given = {"source_row": 7, "phrase_index": index, "phrase": phrase, "prompt": phrase, "truth": truth}
    return Draft(**given | changes)


def measure(*images: ImageWork, **comparison: Any) -> tuple[list[dict[str, Any]], FakeSimilarity]:
    fake = FakeSimilarity()
    meter = SimilarityMeter(
        fake, WhatIsCompared(**comparison), PromptTemplate(question="Where is {phrase}?"), "f.parquet"
    )
    return [one.row for one in meter(images)], fake


def test_a_patch_is_inside_from_half_its_area_on() -> None:
    """Rows 0 to 4 of columns 0 to 6 are the first patch, and half of the second."""
    [row], fake = measure(image(draft(0, 0, 0, 4, 6)))
    assert (row["status"], row["num_inside"], row["num_outside"], row["true_area"]) == ("scored", 2, 14, 24)
    assert (row["product_inside"], row["product_outside"]) == (0.5, 8.5)
    assert (row["product_auroc"], row["cosine_auroc"]) == (0, 0)
    assert row["cosine_outside"] == pytest.approx(0.085)
    assert fake.texts == [["Where is phrase 0?"]]
    [stricter], _ = measure(image(draft(0, 0, 0, 4, 6)), inside=0.75)
    assert stricter["num_inside"] == 1


def test_the_phrase_alone_can_be_read() -> None:
    [row], fake = measure(image(draft(0, 12, 12, 16, 16)), text="phrase")
    assert fake.texts == [["phrase 0"]]
    assert (row["text"], row["product_auroc"]) == ("phrase 0", 1)


def test_each_phrase_has_its_own_scores_and_every_one_a_row() -> None:
    empty = encode_mask(np.zeros((16, 16), bool))
    first = image(
        draft(0, error="phrase is empty", prompt=None),
        draft(1, 0, 0, 4, 4),
        draft(2, truth=empty),
        draft(3),
        draft(4, truth_error="mask: is no mask"),
        draft(5, 0, 0, 1, 1),
        draft(6, 12, 12, 16, 16),
        draft(7, 0, 0, 16, 16),
    )
    lost = image(draft(0, 0, 0, 4, 4, error="image: is no image", prompt=None), readable=False)
    rows, fake = measure(first, lost, image(draft(0, 12, 12, 16, 16)))
    assert [row["status"] for row in rows] == [
        "failed", "scored", "no_target", "failed", "failed", "no_patch", "scored", "no_patch", "failed", "scored",
    ]  # fmt: skip
    assert [row.get("error") for row in rows if row["status"] == "failed"] == [
        "phrase is empty", "there is no true mask", "mask: is no mask", "image: is no image",
    ]  # fmt: skip
    assert rows[6]["product_inside"] == 3 * 15  # the third text that was asked of the image
    assert rows[9]["product_inside"] == 15
    assert len(fake.texts) == 2
    assert json.dumps(rows)  # plain values only
