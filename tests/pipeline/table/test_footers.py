"""From `--input` to footers: which files are meant, what they hold, and footers that lie."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.table.footers import footer_of, list_files, parquet_metadata, read_footers, shard_digest


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


TABLE = pa.table({"image": [b"x"] * 5, "phrase": ["p"] * 5})
DATA = parquet(TABLE, row_group_size=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "b.parquet",
        "a.parquet",
        "sub/c.parquet",
        "_tmp/d.parquet",
        ".e.parquet",
        "out/records/f.parquet",
        "g.txt",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
    return tmp_path / "in"


def listed(root: Path, *inputs: str) -> list[str]:
    found = list_files(tuple(f"{root}/{given}".rstrip("/") for given in inputs), {}, output=str(root / "out"))
    return [str(Path(path).relative_to(root)) for path in found]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([""], ["a.parquet", "b.parquet", "sub/c.parquet"]),  # nothing hidden, and not the run's own output
        (["b.parquet", "?.parquet"], ["a.parquet", "b.parquet"]),
        (["*.parquet"], ["a.parquet", "b.parquet"]),  # as a shell has it
        ([".*.parquet"], [".e.parquet"]),  # a pattern that asks for them
        (["s*"], ["sub/c.parquet"]),
        (["sub", "sub/c.parquet", "sub/../sub"], ["sub/c.parquet"]),
        (["out/records"], []),
        (["g.txt"], ["g.txt"]),  # named in so many words
    ],
)
def test_files_are_listed_sorted_and_once(root: Path, inputs: list[str], expected: list[str]) -> None:
    if expected:
        assert listed(root, *inputs) == expected
    else:
        with pytest.raises(ValueError, match="no Parquet file there"):
            listed(root, *inputs)


def test_a_name_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    for name in ("set [v2]/data (1) [a]?.parquet", "set v/data.parquet", "x1.parquet", "x[12].parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(DATA)
    for given in ("set [v2]", "set [v2]/data (1) [a]?.parquet"):
        assert listed(tmp_path, given) == ["set [v2]/data (1) [a]?.parquet"]
    assert listed(tmp_path, "x[12].parquet") == ["x[12].parquet"]
    assert listed(tmp_path, "x[1].parquet") == ["x1.parquet"]
    assert listed(tmp_path, "set ?/*") == ["set v/data.parquet"]


def test_the_parts_of_a_table_that_spark_wrote(tmp_path: Path) -> None:
    for day in (1, 2):
        for name in ("part-0.snappy.parquet", "_SUCCESS", "_metadata", ".part-0.snappy.parquet.crc"):
            (tmp_path / f"days/{day}.parquet").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"days/{day}.parquet/{name}").write_bytes(DATA)
    both = [f"days/{day}.parquet/part-0.snappy.parquet" for day in (1, 2)]
    assert listed(tmp_path, "days") == listed(tmp_path, "days/*.parquet") == listed(tmp_path, "day?") == both
    assert listed(tmp_path, "days/1.parquet") == listed(tmp_path, "days/1.parquet/*") == both[:1]


@pytest.mark.parametrize(
    ("log", "what"),
    [
        ("t/_delta_log/00000000000000000000.json", "a Delta"),
        ("t/.hoodie/hoodie.properties", "a Hudi"),
        ("t/metadata/00000-a.metadata.json", "an Iceberg"),
    ],
)
def test_a_table_whose_log_says_what_counts_is_refused(tmp_path: Path, log: str, what: str) -> None:
    for name in ("t/part-old.parquet", "t/part-new.parquet", log):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(DATA)
    for given in ("t", "", "t*", "t/*"):
        with pytest.raises(ValueError, match=rf"--input .*: this is {what} table: its log says"):
            listed(tmp_path, given)
    assert listed(tmp_path, "t/part-new.parquet") == ["t/part-new.parquet"], "a file by its own name"


@pytest.mark.parametrize(
    ("given", "message"),
    [("gone", "no such path"), ("gone/*.parquet", "nothing matches"), ("only", r"no \*\.parquet file in it")],
)
def test_an_input_that_leads_nowhere_is_named_with_the_reason(root: Path, given: str, message: str) -> None:
    (root / "only").mkdir()
    (root / "only/notes.txt").touch()
    with pytest.raises(ValueError, match=rf"--input .*{message}") as caught:
        listed(root, given)
    assert given in str(caught.value)


def test_a_footer_says_what_the_file_holds(root: Path) -> None:
    (found,) = read_footers([str(root / "a.parquet")], {})
    length = struct.unpack("<I", DATA[-8:-4])[0]
    assert found.footer_sha256 == hashlib.sha256(DATA[-8 - length : -8]).hexdigest()
    assert (found.size, found.row_group_rows, found.num_rows) == (len(DATA), (2, 2, 1), 5)
    assert found.schema.names == ["image", "phrase"]
    assert found.facts() == {
        "path": str(root / "a.parquet"), "size": len(DATA), "footer_sha256": found.footer_sha256, "rows": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not end as a Parquet file does"),
        (b"PAR1PAR1", "does not end as a Parquet file does"),
        (b"<html>not found</html>", "does not end as a Parquet file does"),
        (DATA[:-1], "does not end as a Parquet file does"),
        (b"PAR1" + struct.pack("<I", 5) + b"PAR1", "its footer claims to be longer than the file"),
        (DATA[:-8] + struct.pack("<I", 2**32 - 1) + b"PAR1", "its footer claims to be longer than the file"),
    ],
)
def test_what_is_no_parquet_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        footer_of(io.BytesIO(data))
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"--input {path} is not readable Parquet: .*{message}") as caught:
        read_footers([str(path)], {})
    assert "\n" not in str(caught.value)


def test_a_footer_of_noise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 100 + struct.pack("<I", 100) + b"PAR1")
    with pytest.raises(ValueError, match="is not readable Parquet"):
        read_footers([str(path)], {})


def test_more_rows_than_the_file_can_hold_are_a_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    count = 1_000_000  # nulls, in a file of some hundred bytes
    path.write_bytes(parquet(pa.table({"image": pa.nulls(count, pa.binary()), "phrase": pa.nulls(count, pa.string())})))
    assert path.stat().st_size * 64 < count
    with pytest.raises(ValueError, match=f"its footer claims {count} rows in {path.stat().st_size} bytes"):
        read_footers([str(path)], {})


def test_extension_types_of_a_footer_are_not_looked_for() -> None:
    kind = pa.uuid()
    data = parquet(pa.table({"u": pa.ExtensionArray.from_storage(kind, pa.array([bytes(16)], pa.binary(16)))}))
    assert pq.read_schema(io.BytesIO(data)).field("u").type == kind
    stored = parquet_metadata(footer_of(io.BytesIO(data))).schema.to_arrow_schema().field("u")
    assert b"ARROW:schema" in footer_of(io.BytesIO(data))
    assert not (stored.metadata or {}).get(b"ARROW:extension:name")


def test_a_shards_digest_changes_with_everything_it_is_made_of() -> None:
    base = ("a", "f", 0, 0, 8, None)
    others = [
        ("b", "f", 0, 0, 8, None),
        ("a", "g", 0, 0, 8, None),
        ("a", "f", 1, 0, 8, None),
        ("a", "f", 0, 1, 8, None),
        ("a", "f", 0, 0, 9, None),
        ("a", "f", 0, 0, 8, 0.5),
    ]
    assert shard_digest(*base) == hashlib.sha256(b"a\0f\x000\x000\x008\0None").hexdigest()[:12]
    assert len({shard_digest(*one) for one in [base, *others]}) == 7
