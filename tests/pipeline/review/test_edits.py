"""Reviews are kept: the newest counts, nothing is overwritten, the same twice counts once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.review.edits import EDIT_SCHEMA, add_reviews, read_edits, resolved
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.review.readers.written import masks


def edit(verdict: str, *, record: str | None = "r-0", mask: int | None = None, **changes: Any) -> dict[str, Any]:
    """A row with one of the masks that formats are tested with."""
    row = dict.fromkeys(EDIT_SCHEMA.names) | {
        "record": record, "image_id": "i", "file_name": "i.png", "verdict": verdict, "is_lossy": False, "height": 23,
        "width": 31, "num_reviews": 0 if verdict == "unseen" else 1, "source_file": "f", "source_row": 0,
        "phrase_index": 0,
    }  # fmt: skip
    if mask is not None:
        found = encode_mask(masks()[mask])
        row |= {"mask_rle": found.counts, "area": found.area, "bbox_xywh": list(found.bbox_xywh)}
    return row | changes


def test_the_newest_review_counts_whatever_comes_later() -> None:
    rows = [edit("rejected", reviewed_at=20.0), edit("unchanged", mask=0, reviewed_at=10.0), edit("unseen")]
    (found,) = resolved(rows, "newest")
    assert (found["verdict"], found["num_reviews"], found["agreement"]) == ("rejected", 2, 0.0)
    (found,) = resolved([edit("unseen"), edit("unseen")], "newest")
    assert (found["verdict"], found["num_reviews"]) == ("unseen", 0)


def test_the_majority_counts_where_it_is_asked_for() -> None:
    rows = [
        edit("unchanged", mask=0, reviewer="a", reviewed_at=1.0),
        edit("unchanged", mask=0, reviewer="b", reviewed_at=2.0),
        edit("rejected", reviewer="c", reviewed_at=3.0),
    ]
    (found,) = resolved(rows, "majority")
    assert (found["verdict"], found["reviewer"]) == ("unchanged", "b")
    assert found["agreement"] == pytest.approx(1 / 3)
    assert resolved(rows, "newest")[0]["verdict"] == "rejected"


def test_additions_are_items_of_their_own() -> None:
    rows = [edit("added", record=None, mask=at) for at in (0, 1, 0)]
    assert len(resolved(rows, "newest")) == 2


def test_what_was_drawn_is_what_the_last_review_of_the_image_holds() -> None:
    kept = [edit("unchanged", mask=0, reviewer="a", reviewed_at=at) for at in (1.0, 2.0)]
    before = edit("added", record=None, mask=0, reviewer="a", reviewed_at=1.0)
    moved = edit("added", record=None, mask=1, reviewer="a", reviewed_at=2.0)
    others = edit("added", record=None, mask=0, reviewer="b", reviewed_at=0.5)
    found = [one for one in resolved([*kept, moved, before, others], "newest") if one["record"] is None]
    assert sorted((one["reviewer"], one["reviewed_at"]) for one in found) == [("a", 2.0), ("b", 0.5)]
    removed = resolved([before, *kept], "newest")
    assert [one["verdict"] for one in removed] == ["unchanged"]


def test_of_reviews_without_a_time_the_last_that_was_handed_in_counts(tmp_path: Path) -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)):  # names by content alone would sort in one way only
        storage = Storage(str(tmp_path / "".join(map(str, order))))
        for mask in (*order, order[0]):
            rows = [edit("edited", mask=mask), edit("added", record=None, mask=mask)]
            again = add_reviews(storage, "run", rows, "newest")
        last = encode_mask(masks()[order[-1]]).counts
        assert [one["mask_rle"] for one in again] == [last, last], "an old file that is read again is no new review"
        assert len(list((tmp_path / "".join(map(str, order)) / "history").iterdir())) == 3


def test_what_is_ingested_later_adds_and_never_removes(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    add_reviews(storage, "run", [edit("edited", mask=0, reviewed_at=5.0), edit("unseen", record="r-1")], "newest")
    first = {path.name: path.read_bytes() for path in (tmp_path / "history").iterdir()}
    edits = add_reviews(storage, "run", [edit("unseen"), edit("rejected", record="r-1", reviewed_at=6.0)], "newest")
    assert {one["record"]: one["verdict"] for one in edits} == {"r-0": "edited", "r-1": "rejected"}
    assert all((tmp_path / "history" / name).read_bytes() == data for name, data in first.items())
    again = add_reviews(storage, "run", [edit("unseen"), edit("rejected", record="r-1", reviewed_at=6.0)], "newest")
    assert again == edits == read_edits(storage, "run")
    assert pq.ParquetFile(tmp_path / "edits.parquet").schema_arrow.equals(EDIT_SCHEMA)


def test_reviews_of_two_runs_are_kept_apart(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "a"))
    add_reviews(storage, "run", [edit("unseen")], "newest")
    with pytest.raises(ValueError, match="another run"):
        add_reviews(storage, "other", [edit("unseen")], "newest")
    with pytest.raises(ValueError, match="another run"):
        read_edits(storage, "other")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/photo.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"something else, such as photo\.png"):
        add_reviews(Storage(str(tmp_path / "b")), "run", [], "newest")
    with pytest.raises(ValueError, match=r"there is no edits.parquet"):
        read_edits(Storage(str(tmp_path / "b")), "run")
