"""Entries of COCO files are those that a run writes."""

from __future__ import annotations

import json
from pathlib import Path

from litelvlm.pipeline.export.coco_entries import annotation_entry, coco_file, image_entry
from litelvlm.pipeline.export.run_images import read_classes, read_images
from litelvlm.pipeline.storage.store import Storage


def test_a_part_written_again_is_the_same(run: Path) -> None:
    part, storage = "annotations/part-00000.json", Storage(str(run))
    classes, images = read_classes(storage, part), list(read_images(storage, part, 0.0))
    entries = [annotation_entry(classes, image, one) for image in images for one in image.objects]
    assert json.loads(coco_file(classes, [image_entry(one) for one in images], entries)) == json.loads(
        (run / part).read_text()
    )
