"""Tables that Arrow reads, and those that take a package."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from litelvlm.pipeline.prepare.arrow_tables import ArrowPiece, arrow_schema
from litelvlm.pipeline.prepare.pieces import InputFile, Notes
from litelvlm.pipeline.table.columns import detect_columns
from litelvlm.pipeline.table.kinds import Kind
from tests.pipeline.prepare.collections import NAMES, PHRASES, image, make_datasets, make_parquet


@pytest.mark.parametrize(("kind", "name"), [("parquet", "0.parquet"), ("datasets", "data-00000-of-00002.arrow")])
def test_rows_of_a_file(tmp_path: Path, kind: Kind, name: str) -> None:
    path = (make_parquet if kind == "parquet" else make_datasets)(tmp_path) / name
    file = InputFile(path=str(path), size=path.stat().st_size)
    mapping = detect_columns(arrow_schema(kind, file, {}))
    piece = ArrowPiece(kind=kind, file=file, mapping=mapping, options={})
    rows = list(piece.rows(Notes()))
    assert [(row.image_id, row.path, list(row.phrases)) for row in rows] == [
        (name, name, phrases) for name, phrases in zip(NAMES[:2], PHRASES[:2], strict=True)
    ]
    assert [row.data for row in rows] == [image(0), image(1)]
    assert mapping.describe() in piece.identity


@pytest.mark.parametrize("kind", ["parquet", "datasets"])
def test_a_file_that_is_none_is_named(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "x").write_bytes(b"nothing of the kind" * 10)
    file = InputFile(path=str(tmp_path / "x"), size=190)
    with pytest.raises(ValueError, match=f"{tmp_path}/x: "):
        arrow_schema(kind, file, {})


def test_a_file_that_is_cut_is_named(tmp_path: Path) -> None:
    path = make_datasets(tmp_path) / "data-00000-of-00002.arrow"
    file = InputFile(path=str(path), size=path.stat().st_size)
    mapping = detect_columns(arrow_schema("datasets", file, {}))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises((ValueError, OSError), match=r"\.arrow"):
        list(ArrowPiece(kind="datasets", file=file, mapping=mapping, options={}).rows(Notes()))


def test_extension_types_of_a_file_are_not_made(tmp_path: Path) -> None:
    """What a file calls its types is a name; the cells are read from their storage."""
    kind = pa.json_(pa.string())
    table = pa.table({"image": [b"x"], "phrase": pa.array(['"a dog"'], kind)})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    file = InputFile(path=str(tmp_path / "x.arrow"), size=1)
    piece = ArrowPiece(
        kind="datasets", file=file, mapping=detect_columns(arrow_schema("datasets", file, {})), options={}
    )
    assert [row.phrases for row in piece.rows(Notes())] == [('"a dog"',)]


@pytest.mark.parametrize(("kind", "module"), [("delta", "deltalake"), ("lance", "lance")])
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, kind: Kind, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'litelvlm-annotate\[{kind}\]'"):
        arrow_schema(kind, InputFile(path="/nonexistent", size=0), {})
