"""Arbitrary tables and damaged Parquet files: every row ends as at least one record, and nothing raises."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.schemas import SHARD_SCHEMA
from tests.fuzz.attempt import attempt
from tests.fuzz.harness import Outcome, check_outcome, run_file, run_table
from tests.fuzz.mutate import mutated
from tests.fuzz.profiles import fuzz
from tests.fuzz.test_images import SEEDS
from tests.pipeline.samples import picture, png

pytestmark = [pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*"), pytest.mark.slow]

PNG = png(picture(1))
#: What people and attackers write: every script, controls, joiners, direction marks, piles of accents.
HOSTILE_TEXTS = (
    "", " ", "\0", "a\0b", "\x1b[31mred\x1b[0m", "a\r\nb", "\u202egnp.exe", "c\u200ba\u200dt", "\u2028\u2029",
    "\ufeff", "e" + "\u0301" * 300, "👩\u200d🚀", "حصان", "漢字", "[SEG]", "</s>", "<image>", "{phrase}", "=1+1",
    "<script>alert(1)</script>", "../../etc/passwd", "/etc/passwd", "C:\\x", "CON", "a/b", "a\u00a0b", "a\u3000b",
    ".", "..", "x" * 5000, "\u3164",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=30))
ANY_BYTES = st.one_of(TEXTS.map(str.encode), st.binary(max_size=20))
IMAGES = st.one_of(
    st.just(PNG),
    st.none(),
    st.binary(max_size=40),
    mutated([PNG, *(seed for seeds in SEEDS.values() for seed in seeds[:2])], max_edits=3),
)


def _strings(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """Strings that need not be valid UTF-8."""
    if pa.types.is_dictionary(kind):
        places = [None if value is None else number for number, value in enumerate(values)]
        words = _strings([value or b"" for value in values], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), words)
    strings = pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())
    return strings.cast(kind) if all(_is_utf8(value) for value in values) else strings


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def _offsets(lengths: list[int]) -> pa.Array:
    return pa.array([sum(lengths[:index]) for index in range(len(lengths) + 1)], pa.int32())


@st.composite
def phrase_columns(draw: st.DrawFn, rows: int) -> pa.Array:
    """Texts, lists of texts, or lists of structs with a text, null at every level."""
    cell = st.one_of(st.none(), ANY_BYTES)
    shape = draw(st.sampled_from(("text", "list", "struct")))
    if shape == "text":
        kind = draw(st.sampled_from((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))))
        return _strings(draw(st.lists(cell, min_size=rows, max_size=rows)), kind)
    lengths = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    texts = _strings(draw(st.lists(cell, min_size=sum(lengths), max_size=sum(lengths))), pa.string())
    if shape == "struct":
        other = pa.array([2**62] * sum(lengths), pa.timestamp("us"))
        texts = pa.StructArray.from_arrays([texts, other], ["sent", "when"])
    return pa.ListArray.from_arrays(_offsets(lengths), texts)


@st.composite
def image_columns(draw: st.DrawFn, rows: int) -> pa.Array:
    """Bytes, structs of bytes and a path, or URIs."""
    shape = draw(st.sampled_from(("bytes", "struct", "uri")))
    uris = st.one_of(st.none(), ANY_BYTES, st.sampled_from((b"file:///etc/passwd", b"http://127.0.0.1/", b"s3://b")))
    paths = _strings(draw(st.lists(uris, min_size=rows, max_size=rows)), pa.string())
    if shape == "uri":
        return paths
    images = pa.array(draw(st.lists(IMAGES, min_size=rows, max_size=rows)), pa.large_binary())
    return images if shape == "bytes" else pa.StructArray.from_arrays([images, paths], ["bytes", "path"])


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables with an image and a phrase column, and sometimes ids."""
    rows = draw(st.integers(1, 4))
    columns = {"image": draw(image_columns(rows)), "phrases": draw(phrase_columns(rows))}
    match draw(st.sampled_from(("text", "number", "none"))):
        case "text":
            ids = st.one_of(st.none(), ANY_BYTES)
            columns["image_id"] = _strings(draw(st.lists(ids, min_size=rows, max_size=rows)), pa.string())
        case "number":
            numbers = st.one_of(st.none(), st.integers(0, 2**64 - 1))
            columns["image_id"] = pa.array(draw(st.lists(numbers, min_size=rows, max_size=rows)), pa.uint64())
    return pa.table(columns)


def _run(table: pa.Table) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        return run_table(table, Path(directory))


@fuzz(60)
@given(tables())
def test_every_row_of_any_table_ends_as_records(table: Any) -> None:
    started = time.process_time()
    outcome = _run(table)
    assert time.process_time() - started < 2
    check_outcome(outcome)
    assert outcome.num_rows == table.num_rows
    _check_round_trip(outcome)


def _check_round_trip(outcome: Outcome) -> None:
    """Records and their schema fit: what a shard's data file takes it gives back."""
    records = [record | {"image_key": "k"} for record in outcome.records]
    kept = pa.Table.from_pylist(records, schema=SHARD_SCHEMA)
    kept.validate(full=True)
    stream = io.BytesIO()
    pq.write_table(kept, stream, compression="zstd")
    assert pq.read_table(stream).to_pylist() == records


def _parquet(**options: object) -> bytes:
    rows = [{"image_id": f"{n}", "image": PNG, "phrases": ["the red box", "a dog"][: 1 + n % 2]} for n in range(9)]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream, **options)
    return stream.getvalue()


FILES = [
    _parquet(),
    _parquet(compression="none", row_group_size=4),
    _parquet(compression="zstd", use_dictionary=False, data_page_version="2.0"),
]


@fuzz(80)
@given(mutated(FILES))
def test_damaged_parquet_is_refused_or_ends_as_records(data: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "input.parquet"
        path.write_bytes(data)
        outcome, error = attempt(ValueError, run_file, path, Path(directory))
        if error is None:
            check_outcome(outcome)
        else:
            assert "input" in str(error)
