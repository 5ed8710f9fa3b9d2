"""Measured records made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.evaluation.records import STATUS_SCORED
from litelvlm.evaluation.similarity.auroc import auroc
from litelvlm.evaluation.similarity.measure import MeasuredPhrase
from litelvlm.evaluation.similarity.records import SCORES


def measured(scores: list[float], inside: list[int], *, image: str = "a", **changes: Any) -> MeasuredPhrase:
    """A record of four patches or another square number; both scores are the same. `inside` are 0 or 1."""
    values, within = np.array(scores, np.float32), np.array(inside, bool)
    row: dict[str, Any] = {
        "source_file": "in.parquet",
        "source_row": 0,
        "phrase_index": 0,
        "image_id": image,
        "image_key": image,
        "phrase": "the red box",
        "text": "the red box?",
        "status": STATUS_SCORED,
        "true_area": 4,
        "num_inside": int(within.sum()),
        "num_outside": int((~within).sum()),
    }
    for name in SCORES:
        row[f"{name}_inside"], row[f"{name}_outside"] = float(values[within].mean()), float(values[~within].mean())
        row[f"{name}_auroc"] = auroc(values, within)
    return MeasuredPhrase(
        row=row | changes,
        scores=dict.fromkeys(SCORES, values),
        inside=within,
        mask=_mask(within),
        clip_pixels=np.full((8, 8, 3), 100, np.uint8),
    )


def unmeasured(status: str, **changes: Any) -> MeasuredPhrase:
    """A record that was not compared."""
    row = measured([0, 1, 2, 3], [0, 0, 0, 1]).row
    return MeasuredPhrase(
        row={name: row[name] for name in ("image_id", "image_key", "phrase")} | {"status": status} | changes
    )


def _mask(within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grid = round(len(within) ** 0.5)
    return np.kron(within.reshape(grid, grid), np.ones((4, 4), bool)).astype(bool)
