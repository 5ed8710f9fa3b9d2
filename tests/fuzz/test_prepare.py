"""Damaged and hostile files of every kind that is prepared: rows, or a refusal in words, and nothing else."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.prepare.config import PrepareConfig
from litelvlm.pipeline.prepare.pieces import Notes
from litelvlm.pipeline.prepare.rows import MASK_SCHEMA, SCHEMA, PreparedRow, to_table
from litelvlm.pipeline.prepare.sources import open_source
from tests.fuzz.mutate import mutated
from tests.fuzz.profiles import fuzz
from tests.pipeline.prepare.collections import KINDS, make_csv, make_yolo

pytestmark = pytest.mark.slow

SUFFIXES = {
    "csv": ".csv",
    "tsv": ".tsv",
    "jsonl": ".jsonl",
    "coco": ".json",
    "webdataset": ".tar",
    "datasets": ".arrow",
}


def valid(kind: str) -> bytes:
    """A file of a kind."""
    with tempfile.TemporaryDirectory() as directory:
        KINDS[kind](Path(directory))
        (file,) = sorted(Path(directory).glob(f"*{SUFFIXES[kind]}"))[:1]
        return file.read_bytes()


VALID = {kind: valid(kind) for kind in SUFFIXES}


def rows_of(directory: Path) -> list[PreparedRow] | None:
    """Rows of whatever lies in a folder; None where it is refused."""
    try:
        source = open_source(PrepareConfig(input=(str(directory),), output="/nonexistent/table"))
        rows = [row for piece in source.pieces for row in piece.rows(Notes())]
    except ValueError:
        return None
    table = to_table(rows, has_masks=source.has_masks)
    assert table.schema == (MASK_SCHEMA if source.has_masks else SCHEMA)
    assert table.num_rows == len(rows)
    return rows


@pytest.mark.parametrize("kind", SUFFIXES)
def test_damaged_files(kind: str) -> None:
    @fuzz(60)
    @given(mutated([VALID[kind]]))
    def look(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / f"x{SUFFIXES[kind]}").write_bytes(data)
            (Path(scratch) / "state.json").write_text("{}") if kind == "datasets" else None
            started = time.process_time()
            rows_of(Path(scratch))
            assert time.process_time() - started < 3

    look()


@fuzz(60)
@given(st.binary(max_size=300), st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".tar", ".csv.gz", ".parquet"]))
def test_any_bytes_by_any_name(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / f"x{suffix}").write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
        rows_of(Path(scratch))


@fuzz(12)
@given(mutated([b"0 0.1 0.1 0.9 0.1 0.9 0.9\n2 0.5 0.5 0.1 0.1\n"]), mutated([b"names: {0: a, 1: b, 2: c}\npath: .\n"]))
def test_damaged_labels_and_descriptions(labels: bytes, description: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = make_yolo(Path(scratch))
        (root / "labels/a.txt").write_bytes(labels)
        rows = rows_of(root)
        assert rows is not None
        assert len(rows) == 4
        (root / "data.yaml").write_bytes(description)
        rows_of(root)


@fuzz(40)
@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), min_size=1, max_size=4))
def test_any_paths_and_phrases_of_a_csv(cells: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = make_csv(Path(scratch))
        sink = io.StringIO(newline="")
        csv.writer(sink).writerows([("image_id", "image_path", "phrase"), *(("1", *pair) for pair in cells)])
        text = sink.getvalue()
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        rows_of(Path(scratch))
