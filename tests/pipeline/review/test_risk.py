"""Risk is an order: what the score says, and the worst where nothing is known."""

from __future__ import annotations

import numpy as np

from litelvlm.pipeline.review.risk import SIGNALS, risk


def test_lower_scores_are_riskier_and_unknown_ones_most() -> None:
    columns = {name: np.full(3, np.nan) for name in SIGNALS} | {"score": np.array([0.9, 0.2, np.nan])}
    found = risk(columns)
    assert found[0] < found[1] <= found[2]
    assert ((found >= 0) & (found <= 1)).all()
