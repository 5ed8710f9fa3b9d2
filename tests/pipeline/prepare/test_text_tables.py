"""CSV, TSV and JSON lines as people write them."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from litelvlm.pipeline.prepare.pieces import Notes, SourceFile
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.prepare.text_tables import CsvPiece, JsonLinesPiece, csv_names, json_lines, json_schema
from litelvlm.pipeline.table.columns import detect_columns


def file_of(path: Path, data: bytes | str) -> SourceFile:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return SourceFile(path=str(path), size=path.stat().st_size)


def csv_rows(path: Path, data: bytes | str, kind: str = "csv") -> tuple[list[PreparedRow], list[str]]:
    file, notes = file_of(path, data), Notes()
    schema = pa.schema([(name, pa.string()) for name in csv_names(kind, file, {})])
    piece = CsvPiece(kind=kind, file=file, mapping=detect_columns(schema), options={})
    return list(piece.rows(notes)), notes.lines()


def json_rows(path: Path, data: bytes | str) -> tuple[list[PreparedRow], list[str]]:
    file, notes = file_of(path, data), Notes()
    piece = JsonLinesPiece(file=file, mapping=detect_columns(json_schema(file, {})), options={})
    return list(piece.rows(notes)), notes.lines()


def test_every_cell_of_a_csv_is_text(tmp_path: Path) -> None:
    lines = [
        "\ufeffid,path,phrase,other",
        '007,a.png,"a ""big"", red\nbox",1',
        "1e5,b.png,,2",
        ',c.png,"[""x"", ""y""]",',
    ]
    text = "".join(f"{line}\r\n" for line in lines)
    rows, notes = csv_rows(tmp_path / "x.csv", text)
    assert [(row.image_id, row.path, row.phrases) for row in rows] == [
        ("007", "a.png", ('a "big", red\nbox',)),
        ("1e5", "b.png", ()),
        (None, "c.png", ("x", "y")),
    ]
    assert notes == []


def test_tabs_and_gzip(tmp_path: Path) -> None:
    rows, _ = csv_rows(tmp_path / "x.tsv.gz", gzip.compress(b"path\tphrase\na,b.png\t[not json]\n"), "tsv")
    assert [(row.path, row.phrases) for row in rows] == [("a,b.png", ("[not json]",))]


def test_lines_of_other_lengths_are_counted(tmp_path: Path) -> None:
    rows, notes = csv_rows(tmp_path / "x.csv", "path,phrase\na.png,p\nb.png\n\nc.png,q,r\nd.png,s\n")
    assert [(row.path, row.phrases) for row in rows] == [
        ("a.png", ("p",)),
        ("b.png", ()),
        ("c.png", ("q",)),
        ("d.png", ("s",)),
    ]
    told = "2 rows have other than 2 fields; those that are missing are null, the first in"
    assert notes == [f"{told} {tmp_path}/x.csv:3"]


@pytest.mark.slow
def test_a_quote_that_never_ends_and_a_stream_that_does_are_told(tmp_path: Path) -> None:
    before = csv.field_size_limit(100_000)
    try:
        with pytest.raises(ValueError, match=r"x\.csv:\d+: is no CSV from here on"):
            csv_rows(tmp_path / "x.csv", 'path,phrase\na.png,"' + "x\n" * 60_000)
    finally:
        csv.field_size_limit(before)
    with pytest.raises(ValueError, match=r"y\.csv\.gz"):
        csv_rows(tmp_path / "y.csv.gz", gzip.compress(b"path,phrase\n" + b"a.png,p\n" * 100_000)[:-20])


def test_fields_of_ten_megabytes_go_through_as_they_are(tmp_path: Path) -> None:
    rows, _ = csv_rows(tmp_path / "x.csv", "path,phrase\na.png," + "p" * 10_000_000 + "\nb.png,q\n")
    assert [len(row.phrases[0] or "") for row in rows] == [10_000_000, 1]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"path\xff,phrase\n"])
def test_a_csv_without_a_header_of_text_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"x\.csv: its first line is no header"):
        csv_names("csv", file_of(tmp_path / "x.csv", data), {})


def test_text_that_is_not_utf8_costs_its_cell_alone(tmp_path: Path) -> None:
    rows, _ = csv_rows(tmp_path / "x.csv", b"path,phrase\na.png,\xff\xfe\nb.png,q\n")
    assert [(row.path, row.phrases) for row in rows] == [("a.png", (None,)), ("b.png", ("q",))]


def test_json_lines_of_every_form(tmp_path: Path) -> None:
    values = [
        {"id": 7, "path": "a.png", "phrases": ["x", None]},
        {"id": 7.0, "path": "b.png", "phrases": []},
        {"id": None, "path": None, "phrases": ["y"]},
        {"path": "c.png", "phrases": "z", "unknown": {"deep": [1]}},
    ]
    lines = [json.dumps(value) for value in values]
    rows, notes = json_rows(tmp_path / "x.jsonl", "\n".join([*lines, "", "[1]", "{broken", lines[0]]))
    assert [(row.image_id, row.path, row.phrases) for row in rows] == [
        ("7", "a.png", ("x", None)),
        ("7", "b.png", ()),
        (None, None, ("y",)),
        (None, "c.png", ("z",)),
        (None, None, ()),
        (None, None, ()),
        ("7", "a.png", ("x", None)),
    ]
    assert notes == [f"2 lines are no JSON objects and become rows without an image, the first in {tmp_path}/x.jsonl:6"]


def test_lines_come_with_their_numbers_and_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litelvlm.pipeline.prepare.text_tables._MAX_LINE_BYTES", 2 << 20)
    file = file_of(tmp_path / "x.jsonl", b"a\n\n" + b"b" * (5 << 20) + b"\nc")
    assert list(json_lines(file, {})) == [(1, b"a"), (3, None), (4, b"c")]
    assert list(json_lines(file_of(tmp_path / "y.jsonl", b""), {})) == []


def test_a_file_without_an_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of its first 100 lines is a JSON object"):
        json_schema(file_of(tmp_path / "x.jsonl", "1\n[2]\n"), {})
