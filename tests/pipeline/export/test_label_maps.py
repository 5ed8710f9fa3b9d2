"""Label maps: ids of classes, numbers of objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.pipeline.export.masked_runs import PHRASES, SIZE_HW, truth


def test_label_maps_hold_ids_and_the_best_score_is_on_top(exported: Any, run: Path) -> None:
    output, counts, lines = exported("label-maps", images=True)
    assert json.loads((output / "labels.json").read_text()) == {
        "0": "background", "7": "ring", "3": "hälf: of <it>", "300": "dots",
    }  # fmt: skip
    objects = json.loads((run / "annotations/part-00000.json").read_text())["annotations"]
    scores = {one["attributes"]["phrase"]: one["score"] for one in objects}
    order = sorted(PHRASES, key=scores.__getitem__)
    for number in range(3):
        expected = np.zeros(SIZE_HW, np.uint16)
        for phrase in order:
            expected[truth(number, phrase)] = (7, 3, 300)[PHRASES.index(phrase)]
        np.testing.assert_array_equal(np.asarray(Image.open(output / f"classes/dir.d/{number}.png")), expected)
        places = np.asarray(Image.open(output / f"objects/dir.d/{number}.png"))
        assert set(np.unique(places)) <= {0, 1, 2, 3}
        np.testing.assert_array_equal(places > 0, expected > 0)
    assert not np.asarray(Image.open(output / "classes/dir.d/3.png")).any()
    assert counts["hidden"] > 0
    assert any(line.startswith("masks overlap: ") for line in lines)
