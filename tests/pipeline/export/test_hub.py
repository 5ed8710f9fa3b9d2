"""A data set that `datasets` opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from tests.pipeline.export.masked_runs import NAMES, PHRASES, SIZE_HW, truth


@pytest.mark.parametrize("images", [True, False])
def test_a_hub_data_set_is_opened_with_decoded_masks(exported: Any, images: bool, tmp_path: Path) -> None:
    output, _, _ = exported("hf-datasets", images=images)
    found = datasets.load_dataset(str(output), split="train", cache_dir=str(tmp_path))
    assert found["image_id"] == [f"id {number}" for number in range(4)]
    assert found.features["categories"].feature.names == NAMES
    for number, row in enumerate(found):
        assert row["file_name"] == f"dir.d/{number}.png"
        assert [NAMES[at] for at in row["categories"]] == [NAMES[PHRASES.index(one)] for one in row["phrases"]]
        for phrase, mask, area in zip(row["phrases"], row["masks"], row["areas"], strict=True):
            np.testing.assert_array_equal(np.asarray(mask) > 0, truth(number, phrase))
            assert area == truth(number, phrase).sum()
        assert ("image" in row) == images
        assert not images or row["image"].size == SIZE_HW[::-1]
    assert found[3]["masks"] == []
