"""Corrections of a run, from a webhook's task to the reviews that `accept` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.review.edits import read_edits
from litelvlm.pipeline.review.readers.brush import encode_brush
from litelvlm.pipeline.serving.corrections import Corrections
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import read_records, row


def test_a_corrected_mask_is_kept_once_however_often_it_is_told(tmp_path: Path) -> None:
    from litelvlm.pipeline.review.edits import mask_of

    make_output(tmp_path, [row(number, "the red box", "a dog") for number in range(3)], shard_images=4)
    output, reviewed = Storage(str(tmp_path / "out")), Storage(str(tmp_path / "reviewed"))
    records = [one for one in read_records(tmp_path / "out") if one["source_row"] == 1]
    keys = [one["record"] for one in records]
    masks = [decode_mask(mask_of(one)) for one in records]
    masks[0][:6] = False  # corrected
    results = [
        {
            "id": key, "type": "brushlabels", "from_name": "brush", "to_name": "image", "image_rotation": 0,
            "original_width": mask.shape[1], "original_height": mask.shape[0],
            "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["x"]},
        }
        for key, mask in zip(keys, masks, strict=True)
    ]  # fmt: skip
    annotation = {"id": 1, "completed_by": 5, "result": results, "updated_at": "2026-11-01T10:00:00Z"}
    data = {"image": "/data/upload/1/x.png", "file_name": records[0]["file_name"], "records": keys}
    corrections = Corrections(output, reviewed)
    for _ in range(2):
        assert corrections.add({"id": 7, "data": data, "annotations": [annotation]}) == 2
    edits = {one["record"]: one for one in read_edits(reviewed, claimed_run(output).fingerprint)}
    assert {key: edits[key]["verdict"] for key in keys} == {keys[0]: "edited", keys[1]: "unchanged"}
    assert edits[keys[0]]["num_reviews"] == 1
    with pytest.raises(ValueError, match="no such image"):
        corrections.add({"id": 8, "data": {"image": "other.png"}, "annotations": [annotation | {"result": []}]})
