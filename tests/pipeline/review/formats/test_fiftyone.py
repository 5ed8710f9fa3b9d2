"""FiftyOne's own directory: masks exact, ids the same in every export, fields declared."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.formats.fiftyone import FiftyOne
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.drawn import PHRASES, SIZE_HW, masked_images, record_of, shapes

CLASSES = (OBJECT, Category(id=2, name="thing"))


def test_masks_are_exact_and_what_has_none_is_listed(tmp_path: Path) -> None:
    with Files(Storage(str(tmp_path))) as files:
        FiftyOne(CLASSES, with_images=True).write("part-00000", masked_images(), files)
    (first, second) = json.loads((tmp_path / "samples.json").read_bytes())["samples"]
    assert [one["filepath"] for one in (first, second)] == ["data/a/0.png", "data/a/1.png"]
    assert (tmp_path / first["filepath"]).exists()
    assert (first["unmasked_phrases"], first["unmasked_records"]) == (["green <i>star</i>"], [record_of(0, 4)])
    detections = first["predictions"]["detections"]
    assert [one["phrase"] for one in detections] == list(PHRASES)
    assert [one["label"] for one in detections] == ["object", "thing"] * 2
    for one, mask in zip(detections, shapes(), strict=True):
        crop = np.load(io.BytesIO(zlib.decompress(base64.b64decode(one["mask"]["$binary"]["base64"]))))
        left, top = round(one["bounding_box"][0] * SIZE_HW[1]), round(one["bounding_box"][1] * SIZE_HW[0])
        found = np.zeros(SIZE_HW, bool)
        found[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        np.testing.assert_array_equal(found, mask)
        assert one["bounding_box"][2:] == [crop.shape[1] / SIZE_HW[1], crop.shape[0] / SIZE_HW[0]]
    declared = {one["name"] for one in json.loads((tmp_path / "metadata.json").read_bytes())["sample_fields"]}
    assert set(first) - declared <= {"_id", "_media_type", "_rand"}


def test_several_parts_have_directories_and_the_same_ids_each_time(tmp_path: Path) -> None:
    images = [replace(one, data=None) for one in masked_images(url="https://images.example")]
    images[0].url = "/mnt/images/0.png"
    for folder in ("once", "again"):
        with Files(Storage(str(tmp_path / folder))) as files:
            FiftyOne(CLASSES, is_alone=False).write("a", images, files)
    found = (tmp_path / "once/a/samples.json").read_bytes()
    samples = json.loads(found)["samples"]
    assert [one["filepath"] for one in samples] == ["/mnt/images/0.png", "data/a/1.png"], "FiftyOne opens no URLs"
    assert samples[1]["image_url"] == "https://images.example/1.png"
    ids = [one["_id"]["$oid"] for one in samples]
    ids += [one["_id"]["$oid"] for sample in samples for one in sample["predictions"]["detections"]]
    assert len(set(ids)) == 10
    assert (tmp_path / "again/a/samples.json").read_bytes() == found
