"""The demo's reviewer leaves what is right, redraws what is not, and deletes what is of something else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.demo.reviewer import main
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.review.readers.brush import encode_brush
from litelvlm.pipeline.review.readers.open import read_reviews

SIZE = (20, 30)


def _box(left: int, width: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[5:15, left : left + width] = True
    return mask


def test_it_does_what_a_person_would(tmp_path: Path) -> None:
    truth = {"right": _box(2, 10), "too wide": _box(2, 10), "other": _box(2, 4)}
    found = {"right": _box(2, 10), "too wide": _box(2, 20), "other": _box(20, 4)}
    rows = [{"image_id": "i", "phrases": list(truth), "truth_rle": [encode_mask(one).counts for one in truth.values()]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scenes.parquet")
    regions = [
        {
            "id": f"{at:016x}-{at}", "type": "brushlabels", "from_name": "brush", "to_name": "image",
            "original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [phrase]},
        }
        for at, (phrase, mask) in enumerate(found.items())
    ]  # fmt: skip
    data = {"image": "i.png", "file_name": "i.png", "image_id": "i", "records": [one["id"] for one in regions]}
    tasks = [{"data": data, "predictions": [{"result": regions}]}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    paths = {name: str(tmp_path / f"{name}.{end}") for name, end in
             (("scenes", "parquet"), ("tasks", "json"), ("output", "json"))}  # fmt: skip
    assert main([word for name, path in paths.items() for word in (f"--{name}", path)]) == 0
    (image,) = read_reviews([paths["output"]])
    (review,) = image.reviews
    assert {one.record: one.mask.counts for one in review.regions} == {
        regions[0]["id"]: encode_mask(truth["right"]).counts,
        regions[1]["id"]: encode_mask(truth["too wide"]).counts,
    }
    assert (review.reviewer, review.lead_time_s) == ("reviewer@example.com", 18.0)
