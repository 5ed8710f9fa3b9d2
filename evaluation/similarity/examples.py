"""Pictures of single records: what CLIP saw, what was meant, how similar each patch was."""

from __future__ import annotations

import base64
import heapq
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litelvlm.evaluation.similarity.measure import MeasuredPhrase
from litelvlm.evaluation.similarity.records import SCORES
from litelvlm.pipeline.report.overlay import OverlayItem, draw_masks

SIDE_PX = 288
_SAMPLE = 48  # records that those in the middle are chosen from
_QUALITY = 80
_HEAT = 0.65  # how much of the heat map covers the image
# Dark to bright through viridis: least to most similar, told apart with any colour vision and in grey.
_COLOURS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class HeatMapExample:
    """A record and its three pictures as data URIs: the image, the outline of what is meant, the heat map."""

    title: str
    phrase: str
    image_id: str
    auroc: float
    pictures: Sequence[tuple[str, str]]


class Chooser:
    """Keeps the records with the lowest and the highest AUROC, and a sample that those in the middle are chosen from.

    Args:
        count: of each kind.
        seed: of the sample.
    """

    def __init__(self, count: int, *, seed: int = 0) -> None:
        self._count, self._rng, self._seen = count, np.random.default_rng(seed), 0
        self._lowest: list[tuple[float, int, MeasuredPhrase]] = []
        self._highest: list[tuple[float, int, MeasuredPhrase]] = []
        self._sample: list[tuple[float, int, MeasuredPhrase]] = []

    def add(self, one: MeasuredPhrase) -> None:
        """Offer a record; one that was not measured is passed over."""
        if one.scores is None or not self._count:
            return
        auroc, self._seen = one.row[f"{SCORES[0]}_auroc"], self._seen + 1
        for heap, key in ((self._lowest, -auroc), (self._highest, auroc)):
            if len(heap) < self._count:
                heapq.heappush(heap, (key, -self._seen, one))
            else:
                heapq.heappushpop(heap, (key, -self._seen, one))
        if len(self._sample) < _SAMPLE:
            self._sample.append((auroc, self._seen, one))
        elif (place := int(self._rng.integers(self._seen))) < _SAMPLE:
            self._sample[place] = (auroc, self._seen, one)

    def examples(self, median: float) -> list[HeatMapExample]:
        """The lowest, those nearest to `median`, and the highest; none twice."""
        near = sorted(self._sample, key=lambda item: (abs(item[0] - median), item[1]))[: self._count]
        parts = (
            ("lowest", [one for *_, one in sorted(self._lowest, key=lambda item: (-item[0], -item[1]))]),
            ("middle", [one for *_, one in near]),
            ("highest", [one for *_, one in sorted(self._highest, key=lambda item: (-item[0], -item[1]))]),
        )
        chosen: dict[int, tuple[str, MeasuredPhrase]] = {}
        for title, members in parts:
            for one in members:
                chosen.setdefault(id(one), (title, one))
        return [_example(title, one) for title, one in chosen.values()]


def heat_map(rgb: NDArray[np.uint8], scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An SxSx3 image under its patches' colours, from the least similar (dark) to the most (bright)."""
    side, grid = len(rgb), round(len(scores) ** 0.5)
    low, high = float(scores.min()), float(scores.max())
    level = (scores.astype(np.float64) - low) / (high - low) if high > low else np.full(len(scores), 0.5)
    stops = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(level, stops, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    place = np.arange(side) * grid // side
    covering = colours.reshape(grid, grid, 3)[np.ix_(place, place)]
    return ((1 - _HEAT) * rgb + _HEAT * covering).astype(np.uint8)


def seen_by_clip(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """An (H, W) mask in CLIP's central square, sampled to (side, side)."""
    height, width = mask.shape
    short = min(height, width)
    place = ((np.arange(side) + 0.5) * short / side).astype(int)
    return mask[np.ix_((height - short) // 2 + place, (width - short) // 2 + place)]


def _example(title: str, one: MeasuredPhrase) -> HeatMapExample:
    scores, mask, rgb = one.scores, one.mask, one.clip_pixels
    assert scores is not None, "it was measured"
    assert mask is not None, "it was measured"
    assert rgb is not None, "it was measured"
    outline = [seen_by_clip(mask, SIDE_PX)]
    pictures = (
        ("what CLIP saw", _data_uri(rgb, [])),
        ("what is meant", _data_uri(rgb, outline)),
        ("similarity", _data_uri(heat_map(rgb, scores[SCORES[0]]), outline)),
    )
    row = one.row
    return HeatMapExample(
        title=title,
        phrase=row["phrase"],
        image_id=row["image_id"],
        auroc=row[f"{SCORES[0]}_auroc"],
        pictures=pictures,
    )


def _data_uri(rgb: NDArray[np.uint8], outlines: Sequence[NDArray[np.bool_]]) -> str:
    drawn = draw_masks(OverlayItem(rgb=rgb, masks=[], phrases=[], scores=[], truths=outlines), SIDE_PX)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
