"""A real FiftyOne with its own database loads the export and writes it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.formats.fiftyone import FiftyOne
from litelvlm.pipeline.review.readers.open import read_reviews
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.drawn import PHRASES, masked_images, record_of, shapes
from tests.review_tools.tools import FiftyOneProgram

pytestmark = pytest.mark.review_tools

_SCRIPT = """
import os, sys
import numpy as np
import fiftyone as fo
source, masks, output = sys.argv[1:]
kind = fo.types.FiftyOneDataset
dataset = fo.Dataset.from_dir(dataset_dir=source, dataset_type=kind)
exact = 0
for sample in dataset:
    assert os.path.exists(sample.filepath), sample.filepath
    for truth, one in zip(np.load(masks), sample.predictions.detections, strict=True):
        left, top = round(one.bounding_box[0] * truth.shape[1]), round(one.bounding_box[1] * truth.shape[0])
        found = np.zeros_like(truth)
        found[top : top + one.mask.shape[0], left : left + one.mask.shape[1]] = one.mask
        exact += bool((found == truth).all())
view = dataset.filter_labels("predictions", fo.ViewField("phrase") == "blue square")
print(exact, view.count("predictions.detections"), dataset.first().unmasked_phrases)
dataset.add_dir(dataset_dir=source, dataset_type=kind)
dataset.export(export_dir=output, dataset_type=kind, export_media=False)
"""


def test_there_and_back(tmp_path: Path) -> None:
    with Files(Storage(str(tmp_path / "out"))) as files:
        written = FiftyOne((OBJECT, Category(id=2, name="thing")), with_images=True)
        written.write("part-00000", masked_images(2), files)
    np.save(tmp_path / "masks.npy", np.stack(shapes()))
    paths = [str(tmp_path / name) for name in ("out", "masks.npy", "again")]
    said = FiftyOneProgram(tmp_path).run(_SCRIPT, *paths)
    assert "8 4 ['green <i>star</i>']" in said
    found = {str(one.image_id): one for one in read_reviews([str(tmp_path / "again")])}
    assert sorted(found) == ["id 0", "id 1"], "the same twice is there once"
    for number in range(2):
        (review,) = found[f"id {number}"].reviews
        regions = {one.record: one for one in review.regions}
        for place, mask in enumerate(shapes()):
            region = regions[record_of(number, place)]
            np.testing.assert_array_equal(decode_mask(region.mask), mask)
            assert region.phrase == PHRASES[place]
