"""Whole images, empty answers and failures are found, wherever their records lie."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.report.examples import MAX_ANSWERS, find_examples
from litelvlm.pipeline.schemas import RECORD_SCHEMA
from litelvlm.pipeline.storage.store import Storage


def record(image: int, phrase: str, status: str = "ok", error: str | None = None) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(RECORD_SCHEMA.names)
    mask = {"score": 0.5, "mask_rle": f"{image}{phrase}"} if status == "ok" else {}
    return values | mask | {
        "record": f"{image:016x}-0", "image_id": f"i{image}", "file_name": f"{image}.jpg", "phrase": phrase,
        "phrase_index": 0, "status": status, "error": error, "height": 4, "width": 5, "source_file": "f",
        "source_row": image,
    }  # fmt: skip


def written(root: Path, records: list[dict[str, Any]], group: int) -> tuple[Storage, list[str]]:
    storage, names = Storage(str(root)), []
    for part in range(2):
        buffer, half = io.BytesIO(), len(records) // 2
        rows = records[part * half : (part + 1) * half if part == 0 else None]
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), buffer, row_group_size=group)
        names.append(f"records/part-{part}.parquet")
        storage.write_bytes(names[-1], buffer.getvalue())
    return storage, names


def test_an_image_is_whole_though_its_records_are_scattered(tmp_path: Path) -> None:
    records = [record(number % 4, f"p{number}") for number in range(20)]
    twin = record(1, "of another") | {"image_id": "other"}  # by its name the same image
    storage, names = written(tmp_path, [*records[:7], twin, *records[7:]], group=3)
    found = find_examples(storage, names, [("3.jpg", "i3"), ("1.jpg", "i1")], shown=2)
    assert [[one.phrase for one in image.answers] for image in found.images] == [
        [f"p{number}" for number in range(3, 20, 4)], [f"p{number}" for number in range(1, 20, 4)],
    ]  # fmt: skip
    assert {(one.size_hw, one.mask_rle) for one in found.images[0].answers} == {
        ((4, 5), f"3p{number}") for number in range(3, 20, 4)
    }
    assert not found.empty


def test_very_many_answers_are_counted_and_the_first_are_kept(tmp_path: Path) -> None:
    storage, names = written(tmp_path, [record(0, f"p{number}") for number in range(100)], group=7)
    (image,) = find_examples(storage, names, [("0.jpg", "i0")], shown=2).images
    assert (image.num_answers, len(image.answers), image.answers[-1].phrase) == (
        100,
        MAX_ANSWERS,
        f"p{MAX_ANSWERS - 1}",
    )


def test_empty_and_failed_ones_are_of_different_kinds_first(tmp_path: Path) -> None:
    records = [record(number, "the cat", "empty") for number in range(10)]
    records += [record(10, "a dog", "empty")]
    records += [record(20 + number, "x", "failed", f"not_found: /a/{number}.jpg") for number in range(10)]
    records += [record(40, "x", "failed", "undecodable: broken") | {"height": None, "width": None}, record(41, "y")]
    for group in (1, 4, 100):
        storage, names = written(tmp_path / str(group), records, group)
        found = find_examples(storage, names, [], shown=3)
        assert [one.image_id for one in found.empty] == ["i0", "i10", "i1"], "another phrase before the same again"
        assert [one.image_id for one in found.failed] == ["i20", "i40", "i21"]
        assert (found.failed[1].size_hw, found.failed[1].error) == (None, "undecodable: broken")
        assert not found.images
