"""Which images go out, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.pipeline.review.chosen_images import chosen_images, keys_where
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.where import Where
from tests.pipeline.samples import read_records


def _chosen(records: RunRecords, keys: Any = None, **changes: Any) -> list[Any]:
    settings = {"whole": False, "unique_stems": False, "image_base": None} | changes
    return [image for image, _ in chosen_images(records, keys, **settings)]


def test_all_of_a_run(records: RunRecords) -> None:
    rows = read_records(records.storage.root)
    images = _chosen(records)
    assert len(images) == 29  # one is broken
    masked = [one for image in images for one in image.objects]
    assert {one.record for one in masked} == {one["record"] for one in rows if one["status"] == "ok"}
    assert len({one.id for one in masked}) == len(masked)
    empty = [one for image in images for one in image.unmasked]
    assert {one.status for one in empty} == {"empty"}


@pytest.mark.parametrize(("whole", "count"), [(False, 1), (True, 4)])
def test_some_records_or_all_of_their_images(records: RunRecords, whole: bool, count: int) -> None:
    keys = {one["record"] for one in read_records(records.storage.root) if one["image_id"] == "image-0002"}
    (image,) = _chosen(records, {min(keys)}, whole=whole)
    assert len(image.objects) == count


def test_a_condition_chooses_records(records: RunRecords) -> None:
    keys = keys_where(records, Where("phrase = 'a dog'"))
    images = _chosen(records, keys)
    assert {one.phrase for image in images for one in image.objects} == {"a dog"}


def test_images_are_found_where_they_are_said_to_be(records: RunRecords) -> None:
    assert _chosen(records)[0].url is None
    assert _chosen(records, image_base="https://x/y/")[0].url == "https://x/y/image-0000.png"
