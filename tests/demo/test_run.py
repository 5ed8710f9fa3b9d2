"""The demo's input, and what it says of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from litelvlm.demo.run import FIRST_SEED, main, report, write_scenes
from litelvlm.demo.scenes import draw_scene
from litelvlm.pipeline.masks import EncodedMask, decode_mask


def _mask(counts: str, size_hw: tuple[int, int]) -> np.ndarray:
    return decode_mask(EncodedMask(size_hw=size_hw, counts=counts, area=0, bbox_xywh=(0, 0, 0, 0)))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes.parquet", 2)
    return tmp_path


def test_scenes_are_written_with_their_truth(output: Path) -> None:
    rows = pq.read_table(output / "scenes.parquet").to_pylist()
    assert [row["image_id"] for row in rows] == ["scene-00000", "scene-00001"]
    scene = draw_scene(FIRST_SEED + 1)
    assert rows[1]["phrases"] == scene.phrases
    for counts, mask in zip(rows[1]["truth_rle"], scene.masks, strict=True):
        assert np.array_equal(_mask(counts, mask.shape), mask)


def _finish(output: Path, baseline: dict[str, Any] | None) -> int:
    """A run that found the truth of every first phrase, and nothing of the others. Returns the number of records."""
    records = []
    for row in pq.read_table(output / "scenes.parquet").to_pylist():
        scene = draw_scene(FIRST_SEED + int(row["image_id"][-1]))
        height, width = scene.image.shape[:2]
        for index, phrase in enumerate(row["phrases"]):
            found = {"mask_rle": row["truth_rle"][0], "score": 0.5} if not index else {"mask_rle": None, "score": None}
            place = {"image_id": row["image_id"], "phrase_index": index, "phrase": phrase}
            records.append(place | found | {"height": height, "width": width})
    (output / "run" / "records").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records), output / "run" / "records" / "part-00000.parquet")
    counts = {"records": len(records), "ok": 2, "empty": len(records) - 2, "failed": 0}
    session = {"images_per_s": 1.5, "phrases_per_s": 4.25}
    (output / "run" / "run.json").write_text(json.dumps({"counts": counts, "session": session, "baseline": baseline}))
    return len(records)


def test_the_report_measures_against_the_truth(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = {"measured_speedup": 1.25, "images": 2, "mean_iou_pruned_vs_unpruned": 0.75}
    count = _finish(output, baseline)
    report(output, 48, "context")
    said = capsys.readouterr().out
    assert f"{count}: 2 ok, {count - 2} empty, 0 failed" in said
    assert f"gIoU            {2 / count:.3f} against the drawn truth, keeping 48 of 144 tokens (rule context)" in said
    assert "1.5 images/s, 4.2 phrases/s" in said
    assert "20% of the model's time (1.25x, measured on 2 images" in said
    assert np.array(Image.open(output / "overlays.png")).std() > 10


def test_without_a_baseline_nothing_is_said_of_savings(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _finish(output, None)
    report(output, 144, "none")
    assert "pruning saved" not in capsys.readouterr().out


def test_a_demo_of_no_scenes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--scenes", "0"])
    assert "--scenes: must be at least 1" in capsys.readouterr().err
