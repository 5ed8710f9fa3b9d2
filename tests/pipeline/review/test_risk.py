"""Risk is an order: what the score says, and the worst where nothing is known."""

from __future__ import annotations

import numpy as np

from litelvlm.pipeline.review.risk import SIGNALS, risk, risk_beside


def test_lower_scores_are_riskier_and_unknown_ones_most() -> None:
    columns = {name: np.full(3, np.nan) for name in SIGNALS} | {"score": np.array([0.9, 0.2, np.nan])}
    found = risk(columns)
    assert found[0] < found[1] <= found[2]
    assert ((found >= 0) & (found <= 1)).all()


def test_what_the_model_calls_absent_is_as_risky_as_it_is_unsure_of_that() -> None:
    columns = {"score": np.array([np.nan, np.nan, 0.9]), "absent_probability": np.array([0.875, 0.125, 0.2])}
    np.testing.assert_allclose(risk(columns), [0.125, 0.875, 0.1])


def test_what_another_run_disagrees_with_comes_first_the_lower_the_iou_the_earlier() -> None:
    own, iou = np.array([0.0, 0.0, 1.0, 0.9, 0.2]), np.array([0.0, 0.7, np.nan, 0.95, np.nan])
    found = risk_beside(own, iou, np.array([True, True, False, False, False]))
    np.testing.assert_allclose(found, [1.0, 0.65, 0.5, 0.45, 0.1])
