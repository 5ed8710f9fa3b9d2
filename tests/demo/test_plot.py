"""The training curves as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litelvlm.demo.plot import PANELS, plot_curves

pytestmark = pytest.mark.slow

FIRST_COLOUR = (31, 119, 180)  # of matplotlib


def test_each_stage_has_its_panel_and_stages_to_come_are_empty(tmp_path: Path) -> None:
    (stage, columns, _), *_ = PANELS
    rows = [f"{50 * step},{0.1 * step},{0.2 * step if step > 1 else ''}" for step in range(1, 4)]  # one joins later
    plot_curves(tmp_path, tmp_path / "empty.png")
    (tmp_path / f"{stage}.csv").write_text("\n".join([",".join(["step", *columns]), *rows]) + "\n")
    plot_curves(tmp_path, tmp_path / "curve.png")
    empty, drawn = (np.array(Image.open(tmp_path / name))[..., :3] for name in ("empty.png", "curve.png"))
    assert drawn.shape == (600, 1100, 3)
    rows_found, columns_found = np.nonzero((drawn == FIRST_COLOUR).all(axis=2))
    assert len(rows_found) > 100
    assert (rows_found.max(), columns_found.max()) < (300, 550)  # the first panel alone
    assert not (empty == FIRST_COLOUR).all(axis=2).any()
