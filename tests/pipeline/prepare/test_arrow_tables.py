"""Tables that Arrow reads, and those that take a package."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from litelvlm.pipeline.prepare.arrow_tables import ArrowPiece, arrow_schema
from litelvlm.pipeline.prepare.pieces import Notes, SourceFile
from litelvlm.pipeline.table.columns import detect_columns
from litelvlm.pipeline.table.kinds import Kind
from tests.pipeline.prepare.collections import NAMES, PHRASES, image, make_datasets, make_iceberg, make_parquet, table


@pytest.mark.parametrize(("kind", "name"), [("parquet", "0.parquet"), ("datasets", "data-00000-of-00002.arrow")])
def test_rows_of_a_file(tmp_path: Path, kind: Kind, name: str) -> None:
    path = (make_parquet if kind == "parquet" else make_datasets)(tmp_path) / name
    file = SourceFile(path=str(path), size=path.stat().st_size)
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
    file = SourceFile(path=str(tmp_path / "x"), size=190)
    with pytest.raises(ValueError, match=f"{tmp_path}/x: "):
        arrow_schema(kind, file, {})


def test_a_file_that_is_cut_is_named(tmp_path: Path) -> None:
    path = make_datasets(tmp_path) / "data-00000-of-00002.arrow"
    file = SourceFile(path=str(path), size=path.stat().st_size)
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
    file = SourceFile(path=str(tmp_path / "x.arrow"), size=1)
    piece = ArrowPiece(
        kind="datasets", file=file, mapping=detect_columns(arrow_schema("datasets", file, {})), options={}
    )
    assert [row.phrases for row in piece.rows(Notes())] == [('"a dog"',)]


@pytest.mark.parametrize(
    ("kind", "module"), [("delta", "deltalake"), ("lance", "lance"), ("iceberg", "pyiceberg.table")]
)
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, kind: Kind, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'litelvlm-annotate\[{kind}\]'"):
        arrow_schema(kind, SourceFile(path="/nonexistent", size=0), {})


@pytest.mark.slow
def test_an_iceberg_table_reads_its_newest_state_and_no_file_of_elsewhere(tmp_path: Path) -> None:
    root = make_iceberg(tmp_path / "warehouse")
    file = SourceFile(path=str(root), size=0)
    mapping = detect_columns(arrow_schema("iceberg", file, {}))
    piece = ArrowPiece(kind="iceberg", file=file, mapping=mapping, options={})
    assert [row.image_id for row in piece.rows(Notes())] == table().column("image_id").to_pylist()
    shutil.move(root, tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", root)  # its log names files that are there, below another folder
    with pytest.raises(ValueError, match=r"moved: it names .*/warehouse/n/t/metadata/.*, which is not below"):
        arrow_schema("iceberg", SourceFile(path=str(tmp_path / "moved"), size=0), {})
    newest = max((root / "metadata").glob("*.metadata.json"))
    newest.write_text("{}")
    with pytest.raises(ValueError, match="n/t: "):
        arrow_schema("iceberg", file, {})
    with pytest.raises(ValueError, match="there are no metadata of an Iceberg table"):
        arrow_schema("iceberg", SourceFile(path=str(tmp_path / "warehouse/n/t/data"), size=0), {})


def test_an_iceberg_table_may_be_empty(tmp_path: Path) -> None:
    from pyiceberg.catalog.memory import InMemoryCatalog

    catalog = InMemoryCatalog("tests", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    catalog.create_table("n.t", schema=table().schema)
    file = SourceFile(path=str(tmp_path / "n/t"), size=0)
    mapping = detect_columns(arrow_schema("iceberg", file, {}))
    assert list(ArrowPiece(kind="iceberg", file=file, mapping=mapping, options={}).rows(Notes())) == []
