"""Pieces to Parquet: whole row groups, bounded files, images where they are wanted, each piece once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.prepare import write
from litelvlm.pipeline.prepare.pieces import Notes
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.storage.store import Storage


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    plan = write.WritePlan(storage=Storage(str(tmp_path)), rows_per_group=2, has_masks=False)

    class Once:
        identity = "once"
        asked = 0

        def rows(self, notes: Any) -> Any:
            self.asked += 1
            notes.add("things are odd", "here")
            return iter([PreparedRow(image_id=str(number), phrases=("p",)) for number in range(5)])

    piece = Once()
    first = write.write_piece(plan, 7, piece)
    assert (first.rows, first.phrases, first.parts, first.notes) == (5, 5, 1, {"things are odd": (1, "here")})
    assert write.write_piece(plan, 7, piece) == first
    assert piece.asked == 1
    metadata = pq.ParquetFile(tmp_path / "part-00007-000.parquet").metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [2, 2, 1]


def test_large_pieces_become_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_PART_ROWS", 20)
    plan = write.WritePlan(storage=Storage(str(tmp_path)), rows_per_group=8, has_masks=False)
    counts = write.Counts()
    rows = (PreparedRow(image_id=str(number), data=b"x" * 10) for number in range(50))
    assert write.write_rows(plan, "part-0", rows, counts) == 3
    found = [pq.read_table(path).num_rows for path in sorted(tmp_path.glob("*.parquet"))]
    assert found == [24, 24, 2]
    ids = [row["image_id"] for path in sorted(tmp_path.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert ids == [str(number) for number in range(50)]
    monkeypatch.setattr(write, "_GROUP_BYTES", 1_000)
    heavy = (PreparedRow(image_id=str(number), data=b"x" * 600) for number in range(5))
    write.write_rows(plan, "heavy", heavy, counts)
    metadata = pq.ParquetFile(tmp_path / "heavy-000.parquet").metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [2, 2, 1]


def test_rows_get_phrases_and_images_that_they_lack(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    plan = write.WritePlan(
        storage=Storage(str(tmp_path)),
        rows_per_group=2,
        has_masks=True,
        phrases=("p", "q"),
        policy=UriPolicy(image_root=str(tmp_path)),
    )
    rows = [
        PreparedRow(image_id="1", path="a.png"),
        PreparedRow(image_id="2", path="gone.png", phrases=("r",), masks=(None,)),
        PreparedRow(image_id="3", data=b"own", path="a.png"),
        PreparedRow(image_id="4"),
    ]
    notes = Notes()
    done = list(write.completed(plan, rows, write.Counts(), notes))
    assert [row.data for row in done] == [b"pixels", None, b"own", None]
    assert [row.phrases for row in done] == [("p", "q"), ("r",), ("p", "q"), ("p", "q")]
    assert done[0].masks == (None, None)
    assert notes.lines() == ["1 images are not in the table (not_found), the first in gone.png"]


def test_counts_survive_their_file() -> None:
    counts = write.Counts(rows=3, phrases=4, parts=1, without_phrases=2, notes={"things": (2, "here")})
    assert write.Counts.from_json(counts.to_json()) == counts
