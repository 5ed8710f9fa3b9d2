"""COCO of chosen images is read by pycocotools."""

from __future__ import annotations

from pathlib import Path

from pycocotools.coco import COCO

from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.ontology import OBJECT
from litelvlm.pipeline.review.chosen_images import chosen_images
from litelvlm.pipeline.review.formats.coco import Coco
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage


def test_it_has_the_masks_and_their_keys(records: RunRecords, tmp_path: Path) -> None:
    images = [image for image, _ in chosen_images(records, None, whole=True, unique_stems=False, image_base=None)]
    images[0].data = b"png"
    written = Coco((OBJECT,), tolerance=0.0, with_images=True)
    with Files(Storage(str(tmp_path))) as files:
        written.write("part-00000", images, files)
        written.finish(["part-00000"], files)
    coco = COCO(str(tmp_path / "annotations/part-00000.json"))
    wanted = {one.record: one.mask.area for image in images for one in image.objects}
    found = coco.loadAnns(coco.getAnnIds())
    assert {one["attributes"]["record"]: int(coco.annToMask(one).sum()) for one in found} == wanted
    assert (tmp_path / "images" / images[0].file_name).read_bytes() == b"png"
    assert (tmp_path / "cvat_labels.json").is_file()
