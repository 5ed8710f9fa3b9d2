"""Images are found by their records, else by any form of their names, and never guessed."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.review.find_images import RunImages
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage
from litelvlm.pipeline.review.run_records import RunRecords
from tests.pipeline.samples import read_records


def image(file_name: str, *records: str) -> ReviewedImage:
    return ReviewedImage(
        file_name=file_name, size_hw=None, reviews=(Review(regions=()),), place="x", records=records or None
    )


@pytest.mark.parametrize(
    "name", ["image-0003.png", "data/upload/image-0003.png", "IMAGE-0003", "image-0003.jpg", "C:\\x\\image-0003.png"]
)
def test_by_name_with_what_tools_do_to_it(records: RunRecords, name: str) -> None:
    given = image(name)
    run = RunImages(records, [given])
    key = run.find(given)
    assert key == ("image-0003.png", "image-0003")
    assert len(run.by_key[key]) == 1


def test_by_record_whatever_its_name(records: RunRecords) -> None:
    rows = read_records(records.storage.root)
    given = image("renamed.png", rows[0]["record"])
    assert RunImages(records, [given]).find(given)[0] == rows[0]["file_name"]


def test_all_of_its_records_are_there_wherever_they_lie(records: RunRecords) -> None:
    given = image("image-0002.png")
    run = RunImages(records, [given])
    assert len(run.by_key[run.find(given)]) == 4  # three phrases, and one in a row far away


def test_what_is_no_image_of_the_run_is_refused(records: RunRecords) -> None:
    rows = read_records(records.storage.root)
    unknown, mixed = image("other.png"), image("x.png", rows[0]["record"], rows[-2]["record"])
    run = RunImages(records, [unknown, mixed])
    with pytest.raises(ValueError, match="no such image"):
        run.find(unknown)
    with pytest.raises(ValueError, match="several images"):
        run.find(mixed)
