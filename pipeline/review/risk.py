"""How likely a record is wrong, as far as its signals tell: an order for people, no probability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Columns of `records/` that `risk` looks at.
SIGNALS = ("score",)


def risk(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """0 to 1 for each record, 1 where nothing is known; `columns` are those of `SIGNALS`, NaN where there is none."""
    return 1.0 - np.nan_to_num(columns["score"], nan=0.0).clip(0.0, 1.0)
