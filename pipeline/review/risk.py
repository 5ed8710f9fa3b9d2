"""How likely a record is wrong, as far as its signals tell: an order for people, no probability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Columns of `records/` that `risk` looks at.
SIGNALS = ("score", "absent_probability")


def risk(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """0 to 1 for each record, 1 where nothing is known; `columns` are those of `SIGNALS`, NaN where there is none.

    Of a mask it is what its score lacks; of an answer without one, what the probability that nothing is there lacks.
    """
    score, absent = (columns[name] for name in SIGNALS)
    sure = np.where(np.isnan(score), absent, score)
    return 1.0 - np.nan_to_num(sure, nan=0.0).clip(0.0, 1.0)


def risk_beside(
    own: NDArray[np.float64], iou: NDArray[np.float64], disagrees: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The risk where another run answered, too: 1 - IoU / 2 where the two disagree, above 0.5, the lower the IoU the
    higher; half of a record's own risk everywhere else."""
    return np.where(disagrees, 1.0 - iou / 2.0, own / 2.0)
