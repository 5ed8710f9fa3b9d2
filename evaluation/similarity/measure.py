"""From images with true masks to rows: similarity inside and outside of what each phrase means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm import PromptTemplate
from litelvlm.evaluation.coverage import patch_shares
from litelvlm.evaluation.records import STATUS_SCORED
from litelvlm.evaluation.shard_sweep import NO_TRUTH
from litelvlm.evaluation.similarity.auroc import auroc
from litelvlm.evaluation.similarity.config import WhatIsCompared
from litelvlm.evaluation.similarity.records import SCORES, STATUS_NO_PATCH, STATUS_NO_TARGET
from litelvlm.patch_similarity import PatchSimilarity, Similarity
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.schemas import STATUS_FAILED
from litelvlm.pipeline.shards.payload import Draft, ImageWork

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredPhrase:
    """A phrase of an image: its row, and, where it could be measured, the V scores of its row's kinds.

    Attributes:
        row: of `RECORD_SCHEMA`.
        scores: V float32 by name.
        inside: V bool.
        mask: the true mask, HxW bool.
        clip_pixels: SxSx3 uint8, what CLIP saw.
    """

    row: Row
    scores: dict[str, NDArray[np.float32]] | None = None
    inside: NDArray[np.bool_] | None = None
    mask: NDArray[np.bool_] | None = None
    clip_pixels: NDArray[np.uint8] | None = None


class SimilarityMeter:
    """Measures images of one file.

    Args:
        similarity: the CLIP towers.
        comparison: which text is compared with which patches.
        template: the question.
        file: the input file that the images are of.
    """

    def __init__(
        self, similarity: PatchSimilarity, comparison: WhatIsCompared, template: PromptTemplate, file: str
    ) -> None:
        self._similarity, self._comparison, self._template, self._file = similarity, comparison, template, file
        self._num_patches = similarity.checkpoint.config.num_visual_tokens

    def __call__(self, images: Sequence[ImageWork]) -> Iterator[MeasuredPhrase]:
        """A row for every phrase of every image, in order."""
        asked = [self._asked(image) for image in images]
        seen = [
            image.prepared.clip_pixels
            for image, own in zip(images, asked, strict=True)
            if own and image.prepared is not None
        ]
        compared = iter(self._similarity(seen, [[self._text(draft) for draft in own] for own in asked if own]))
        for image, own in zip(images, asked, strict=True):
            places = {id(draft): place for place, draft in enumerate(own)}
            found = next(compared) if own else None
            for draft in image.drafts:
                place = places.get(id(draft))
                if place is None or found is None:
                    yield self._unmeasured(image, draft)
                else:
                    yield self._measured(image, draft, Similarity(*(part[place] for part in found)))

    def _asked(self, image: ImageWork) -> list[Draft]:
        return [draft for draft in image.asked if draft.truth is not None and draft.truth.area > 0]

    def _text(self, draft: Draft) -> str:
        phrase = draft.prompt or ""
        return phrase if self._comparison.text == "phrase" else self._template.ask(phrase)

    def _unmeasured(self, image: ImageWork, draft: Draft) -> MeasuredPhrase:
        if draft.error is None and draft.truth is not None:
            return MeasuredPhrase(row=self._row(image, draft) | {"status": STATUS_NO_TARGET, "true_area": 0})
        reason = draft.error or draft.truth_error or NO_TRUTH
        return MeasuredPhrase(row=self._row(image, draft) | {"status": STATUS_FAILED, "error": reason})

    def _measured(self, image: ImageWork, draft: Draft, found: Similarity) -> MeasuredPhrase:
        assert draft.truth is not None, "others are not asked"
        assert image.prepared is not None, "others are not asked"
        mask = decode_mask(draft.truth)
        inside = patch_shares(mask, self._num_patches) >= self._comparison.inside
        count = int(inside.sum())
        row = self._row(image, draft) | {
            "text": self._text(draft),
            "status": STATUS_SCORED,
            "true_area": draft.truth.area,
            "num_inside": count,
            "num_outside": len(inside) - count,
        }
        if count in (0, len(inside)):
            return MeasuredPhrase(row=row | {"status": STATUS_NO_PATCH})
        scores = dict(zip(SCORES, found, strict=True))
        for name, values in scores.items():
            row[f"{name}_inside"], row[f"{name}_outside"] = float(values[inside].mean()), float(values[~inside].mean())
            row[f"{name}_auroc"] = auroc(values, inside)
        return MeasuredPhrase(row=row, scores=scores, inside=inside, mask=mask, clip_pixels=image.prepared.clip_pixels)

    def _row(self, image: ImageWork, draft: Draft) -> Row:
        return {
            "source_file": self._file,
            "source_row": draft.source_row,
            "phrase_index": draft.phrase_index,
            "image_id": image.image_id,
            "image_key": image.image_key,
            "phrase": draft.phrase,
        }
