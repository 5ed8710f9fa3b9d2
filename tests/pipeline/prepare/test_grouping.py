"""An image's rows come together, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.prepare.grouping import gather, image_key, scatter
from litelvlm.pipeline.prepare.pieces import Notes
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.prepare.write import WritePlan
from litelvlm.pipeline.storage.store import Storage

MASK = EncodedMask(size_hw=(2, 3), counts="06", area=6, bbox_xywh=(0.0, 0.0, 3.0, 2.0))


@dataclass
class Rows:
    made: list[PreparedRow]
    identity: str = "rows"

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        notes.add("rows were read", "here")
        yield from self.made


def test_keys_are_ids_else_paths_else_bytes() -> None:
    rows = [
        PreparedRow(image_id="a", path="x", data=b"1"),
        PreparedRow(image_id=None, path="a", data=b"1"),
        PreparedRow(image_id=None, data=b"1"),
        PreparedRow(image_id=None, data=b"2"),
        PreparedRow(image_id=None),
    ]
    assert len({image_key(row) for row in rows}) == 5
    assert image_key(rows[2]) == image_key(PreparedRow(image_id=None, data=b"1", phrases=("p",)))


@pytest.mark.parametrize("num_bins", [1, 7])
def test_rows_of_an_image_become_one(tmp_path: Path, num_bins: int) -> None:
    plan = WritePlan(storage=Storage(str(tmp_path)), rows_per_group=8, has_masks=True)
    pieces = [
        Rows([PreparedRow(image_id=str(n % 5), phrases=(f"{piece}-{n}",), masks=(MASK,)) for n in range(13)])
        for piece in range(3)
    ]
    counts = [scatter(plan, number, piece, num_bins) for number, piece in enumerate(pieces)]
    assert [one.rows for one in counts] == [13, 13, 13]
    assert counts[0].notes == {"rows were read": (1, "here")}
    done = [gather(plan, number) for number in range(num_bins)]
    assert sum(one.rows for one in done) == 5
    assert sum(one.phrases for one in done) == 39
    rows = [row for path in sorted(tmp_path.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert {row["image_id"]: row["phrases"] for row in rows} == {
        str(image): [f"{piece}-{n}" for piece in range(3) for n in range(13) if n % 5 == image] for image in range(5)
    }
    assert all(row["masks"] == [{"size": [2, 3], "counts": "06"}] * len(row["phrases"]) for row in rows)
    assert [gather(plan, number) for number in range(num_bins)] == done, "what is done is not done again"


def test_bytes_and_paths_are_kept_from_wherever_they_are(tmp_path: Path) -> None:
    plan = WritePlan(storage=Storage(str(tmp_path)), rows_per_group=8, has_masks=False)
    rows = [
        PreparedRow(image_id="a", phrases=("p",)),
        PreparedRow(image_id="a", path="a.png", phrases=(None,)),
        PreparedRow(image_id="a", data=b"x"),
    ]
    scatter(plan, 0, Rows(rows), 1)
    gather(plan, 0)
    (row,) = pq.read_table(tmp_path / "part-00000-000.parquet").to_pylist()
    assert row == {"image_id": "a", "image": {"bytes": b"x", "path": "a.png"}, "phrases": ["p", None]}
