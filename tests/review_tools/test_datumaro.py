"""Datumaro's own converters to COCO, to CVAT's XML and to its own format: what they make of an export is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.export.datumaro import Datumaro
from litelvlm.pipeline.export.formats import Files, Format
from litelvlm.pipeline.masks import decode_mask, encode_mask, mask_iou
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.formats.coco import Coco
from litelvlm.pipeline.review.readers.open import read_reviews
from litelvlm.pipeline.review.reviewed import Review
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.drawn import PHRASES, masked_images, record_of, shapes

pytestmark = pytest.mark.review_tools

PART = "part-00000"


def converted(root: Path, kind: type[Format], to: str, **options: Any) -> list[Review]:
    """Reviews, one an image, after an export in our `kind` has gone through datumaro into another format."""
    from datumaro.components.dataset import Dataset

    with Files(Storage(str(root / "out"))) as files:
        written = kind((OBJECT, Category(id=2, name="thing")), tolerance=0.0, with_images=True)
        written.write(PART, iter(masked_images(2)), files)
        written.finish([PART], files)
    if kind is Coco:  # as datumaro wants it, see docs/input-and-output.md
        (root / "out/annotations" / f"{PART}.json").rename(root / f"out/annotations/instances_{PART}.json")
        (root / "out/cvat_labels.json").unlink()
        (root / "out/images").rename(root / PART)
        (root / "out/images").mkdir()
        (root / PART).rename(root / "out/images" / PART)
    dataset = Dataset.import_from(str(root / "out"), "coco_instances" if kind is Coco else "datumaro")
    dataset.export(str(root / "back"), to, save_media=True, **options)
    return [review for image in read_reviews([str(root / "back")]) for review in image.reviews]


def _in_order(reviews: list[Review]) -> list[Review]:
    return sorted(reviews, key=lambda one: str(one.regions[0].record))


EXACT = [(Coco, "cvat"), (Coco, "datumaro"), (Datumaro, "coco_instances"), (Datumaro, "cvat"), (Datumaro, "datumaro")]


@pytest.mark.parametrize(("kind", "to"), EXACT)
def test_every_mask_is_pixel_equal(tmp_path: Path, kind: type[Format], to: str) -> None:
    kept = {"allow_undeclared_attrs": True} if to == "cvat" else {}
    found = {str(one.record): one for review in converted(tmp_path, kind, to, **kept) for one in review.regions}
    assert set(found) == {record_of(number, place) for number in range(2) for place in range(4)}
    for number in range(2):
        for place, mask in enumerate(shapes()):
            region = found[record_of(number, place)]
            np.testing.assert_array_equal(decode_mask(region.mask), mask)
            assert (region.phrase, region.is_lossy) == (PHRASES[place], False)


@pytest.mark.parametrize(
    ("kind", "options"), [(Coco, {}), (Datumaro, {"segmentation_mode": "polygons"})], ids=["coco", "datumaro"]
)
def test_what_outlines_lose(tmp_path: Path, kind: type[Format], options: dict[str, str]) -> None:
    """Beside the boxes that datumaro makes of COCO's, or where it is asked to, it writes outlines through the middles
    of pixels, without holes, and nothing for single pixels."""
    for number, review in enumerate(_in_order(converted(tmp_path, kind, "coco_instances", **options))):
        kept = {str(one.record): one for one in review.regions}
        assert all(one.is_lossy for one in kept.values())
        overlaps = [mask_iou(kept[record_of(number, place)].mask, encode_mask(shapes()[place])) for place in range(3)]
        assert overlaps == pytest.approx([0.859, 0.959, 0.959], abs=0.002)
        assert review.shapeless == (record_of(number, 3),), "its record is there and not rejected"
