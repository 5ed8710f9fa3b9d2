"""Held-out scenes as a table with true masks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.demo.truth import main
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.table.true_masks import parse_mask
from tests.evaluation.datasets.refer_files import read_truth


def test_the_table_holds_the_drawn_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "held_out.parquet"
    assert main(["--scenes", "2", "--first", "3", "--output", str(path)]) == 0
    rows = read_truth(path)
    assert [row["image_id"] for row in rows] == ["scene-00003", "scene-00004"]
    scene = draw_scene(HELD_OUT_SEED + 4)
    assert np.array_equal(np.array(Image.open(io.BytesIO(rows[1]["image"]["bytes"]))), scene.image)
    assert rows[1]["phrases"] == scene.phrases
    assert rows[1]["kinds"] == [one.kind for one in scene.expressions]
    assert len({name for row in rows for name in row["sentence_ids"]}) == sum(len(row["phrases"]) for row in rows)
    for cell, mask in zip(rows[1]["masks"], scene.masks, strict=True):
        found = parse_mask(cell, mask.shape)
        assert found is not None
        assert np.array_equal(decode_mask(found), mask)
    count = sum(len(row["phrases"]) for row in rows)
    assert capsys.readouterr().out == f"{path}: 2 images with {count} expressions\n"


@pytest.mark.parametrize("flags", [["--scenes", "0"], ["--first", "-1"]])
def test_numbers_that_make_no_sense_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(flags)
    assert "--scenes must be at least 1, --first at least 0" in capsys.readouterr().err
