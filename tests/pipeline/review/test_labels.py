"""Reviewed and accepted labels as one data set, which importers read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pycocotools.coco import COCO

from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.review.labels import LABEL_SCHEMA, LabelWriter, categories_of
from litelvlm.pipeline.review.record_places import key_hash
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.review.test_edits import edit
from tests.pipeline.samples import read_records

DRAWN = np.zeros((24, 32), bool)
DRAWN[3:9, 4:20] = True


def _write(records: RunRecords, root: Path) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    rows = [one for one in read_records(records.storage.root) if one["status"] == "ok"]
    drawn = encode_mask(DRAWN)
    mask = {"mask_rle": drawn.counts, "area": drawn.area, "bbox_xywh": list(drawn.bbox_xywh)}
    edits = [
        edit("unchanged", record=rows[0]["record"], reviewer="ann"),
        edit("rejected", record=rows[1]["record"]),
        edit("edited", record=rows[2]["record"], height=24, width=32, **mask),
        edit("added", record=None, file_name="image-0000.png", image_id="image-0000", phrase="a tree", height=24,
             width=32, **mask),
    ]  # fmt: skip
    accepted = {key_hash(rows[5]["record"])}
    writer = LabelWriter(Storage(str(root)), categories_of(records), {"run": "r"})
    calibration = np.array([0.0, 1.0]), np.array([0.5, 1.0])
    counts = writer.write(records, edits, accepted, calibration)
    found = pq.ParquetFile(root / "records/part-00000.parquet").read()
    assert found.schema.equals(LABEL_SCHEMA)
    return counts, {one["record"]: one for one in found.to_pylist()}


def test_every_record_says_where_its_label_is_from(records: RunRecords, tmp_path: Path) -> None:
    counts, found = _write(records, tmp_path)
    rows = read_records(records.storage.root)
    assert counts == {"reviewed": 4, "accepted": 1, "open": len(rows) - 4}
    assert len(found) == len(rows) + 1
    ok = [one for one in rows if one["status"] == "ok"]
    first = found[ok[0]["record"]]
    assert (first["review"], first["verdict"], first["reviewer"]) == ("reviewed", "unchanged", "ann")
    assert first["mask_rle"] == ok[0]["mask_rle"]
    assert np.isclose(first["probability"], 0.5 + ok[0]["score"] / 2)
    assert (found[ok[1]["record"]]["mask_rle"], found[ok[1]["record"]]["status"]) == (None, "empty")
    assert found[ok[2]["record"]]["mask_rle"] == encode_mask(DRAWN).counts
    assert found[ok[5]["record"]]["review"] == "accepted"
    (added,) = (one for key, one in found.items() if key.startswith("added-"))
    assert (added["phrase"], added["review"], added["category"]) == ("a tree", "reviewed", "object")


def test_the_coco_file_has_what_is_decided_and_nothing_open(records: RunRecords, tmp_path: Path) -> None:
    _write(records, tmp_path)
    coco = COCO(str(tmp_path / "annotations/part-00000.json"))
    found = coco.loadAnns(coco.getAnnIds())
    assert len(found) == 4  # unchanged, edited, added, accepted; not the rejected one
    assert [one["attributes"]["source"] for one in found].count("manual") == 2
    assert all(one["attributes"]["review"] == "accepted" for one in found)
    drawn = [one for one in found if one["attributes"]["phrase"] == "a tree"]
    np.testing.assert_array_equal(coco.annToMask(drawn[0]), DRAWN)
    assert coco.dataset["info"] == {"run": "r"}
