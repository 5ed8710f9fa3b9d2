"""Records to picks and reasons."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.report.records import Reasons, reasons_of_errors, record_parts, score_facts
from litelvlm.pipeline.storage.store import Storage


def write_records(storage: Storage, name: str, scores: list[float | None], *, first_row: int, group: int) -> None:
    """A file of records that have these scores; None is a failed record."""
    rows = [
        {
            "file_name": f"{first_row + at // 2}.jpg",
            "image_id": f"i{first_row + at // 2}", "phrase": f"p{at}", "score": score, "height": 2, "width": 2,
            "mask_rle": f"rle{first_row}-{at}", "source_file": "f", "source_row": first_row + at // 2,
            "phrase_index": at % 2, "status": "failed" if score is None else "ok",
        }
        for at, score in enumerate(scores)
    ]  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=group)
    storage.write_bytes(name, buffer.getvalue())


def test_the_best_and_worst_are_those_of_a_plain_sort_whatever_the_files(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    rng = np.random.default_rng(0)
    given_scores: dict[int, float] = {}
    names = []
    for part in range(3):
        scores = [None if value < 0.1 else float(value) for value in rng.random(200)]
        names.append(f"records/part-{part}.parquet")
        write_records(storage, names[-1], scores, first_row=1_000 * part, group=17)
        for at, score in enumerate(scores):
            if score is not None:
                given_scores[1_000 * part + at // 2, at % 2] = score
    facts = score_facts(storage, names, shown=5)
    order = sorted(given_scores, key=lambda key: given_scores[key])
    lowest = list(dict.fromkeys(row for row, _ in order))[:5]  # type: ignore[has-type, misc]
    assert [pick.source_row for pick in facts.worst] == lowest
    highest = [row for row in dict.fromkeys(row for row, _ in reversed(order)) if row not in lowest][:5]  # type: ignore[has-type, misc]
    assert [pick.source_row for pick in facts.best] == highest
    assert facts.scored == len(given_scores)
    assert facts.mean == pytest.approx(np.mean(list(given_scores.values())))
    assert facts.worst[0].mask_rle.startswith(f"rle{lowest[0] // 1_000 * 1_000}-")


def test_scores_that_are_none_or_not_a_number_are_counted_apart(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_records(storage, "records/a.parquet", [0.5, float("nan"), None, 1.0, 0.499], first_row=0, group=10)
    facts = score_facts(storage, ["records/a.parquet"], shown=3)
    assert (facts.scored, facts.unscored, facts.below_half) == (3, 1, 1)
    assert [(one.phrase, one.records, one.masks, one.mean) for one in facts.phrases.top(3)] == [
        ("p0", 1, 1, 0.5), ("p1", 1, 0, None), ("p2", 1, 0, None),
    ]  # fmt: skip
    assert score_facts(storage, [], shown=3).mean is None


def test_reasons_that_differ_in_paths_and_numbers_alone_are_one() -> None:
    reasons = Reasons()
    for number in range(5_000):
        reasons.add(f"not_found: s3://bucket/{number}.jpg does not exist")
        reasons.add(f"too_many_pixels: declared size {number}x1, the limit is 7 pixels")
    assert dict(reasons.counts) == {
        "not_found: … does not exist": 5_000,
        "too_many_pixels: declared size NxN, the limit is N pixels": 5_000,
    }
    assert reasons.examples["not_found: … does not exist"].endswith("/0.jpg does not exist")


def test_reasons_do_not_grow_with_the_input() -> None:
    reasons = Reasons()
    reasons.add("frequent", 10_000)
    for number in range(9_000):
        reasons.add(f"word{chr(0x4E00 + number)}")
    assert len(reasons.counts) <= 2_000
    assert reasons.counts["frequent"] == 10_000
    assert set(reasons.examples) == set(reasons.counts)


def test_reasons_are_read_from_the_errors_of_a_run(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        reasons_of_errors(storage)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"error": ["not_found: /a/1.png", "not_found: /a/2.png", "phrase: empty"]}), buffer)
    storage.write_bytes("errors.parquet", buffer.getvalue())
    reasons = reasons_of_errors(storage)
    assert reasons.counts.most_common() == [("not_found: …", 2), ("phrase: empty", 1)]
    assert reasons.examples["not_found: …"] == "not_found: /a/1.png"


def test_only_tables_are_parts_of_the_records(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert record_parts(storage) == []
    for name in ("records/part-00001.parquet", "records/part-00000.parquet", "records/README.txt"):
        storage.write_bytes(name, b"x")
    assert sorted(record_parts(storage)) == ["records/part-00000.parquet", "records/part-00001.parquet"]


def test_scores_fall_into_bins_whose_last_holds_one(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_records(storage, "records/a.parquet", [0.0, 0.04, 0.05, 0.999, 1.0, 1.5], first_row=0, group=4)
    bins = score_facts(storage, ["records/a.parquet"], shown=1).bins
    assert (bins[0], bins[1], bins[19], bins.sum()) == (2, 1, 3, 6)  # beyond 1 is counted as 1
