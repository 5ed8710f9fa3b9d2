"""What a row asks for, whatever its cells hold: nothing raises, nothing runs, nothing huge is copied."""

from __future__ import annotations

import base64
import datetime
import math
import tracemalloc
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.pipeline.table.columns import ColumnMapping, detect_columns
from litelvlm.pipeline.table.rows import (
    MAX_MASK_VALUES,
    MAX_PHRASE_CHARS,
    MAX_PHRASES,
    MAX_TEXT_BYTES,
    InputRow,
    Oversized,
    iter_rows,
    read_row,
)
from tests.pipeline.table.test_columns import IMAGE_STRUCT, SENTENCES


def _read(table: pa.Table, mapping: ColumnMapping | None = None, **flags: Any) -> list[InputRow]:
    mapping = mapping or detect_columns(table.schema, **flags)
    return [read_row(row, mapping, default_id=f"row-{index}") for index, row in enumerate(iter_rows(table, mapping))]


def test_true_masks_are_read_only_where_they_are_asked_for() -> None:
    run_lengths = pa.struct([("size", pa.list_(pa.int64())), ("counts", pa.string()), ("note", pa.string())])
    table = pa.table(
        {
            "image": pa.array([b"x"] * 2),
            "phrase": pa.array(["a", "b"]),
            "mask": pa.array([{"size": [2, 3], "counts": "06", "note": "n"}, None], run_lengths),
            "polygons": pa.array([[[0.5, 1, 2, 2.25, 0, 3]], []], pa.list_(pa.list_(pa.float64()))),
        }
    )
    assert detect_columns(table.schema).mask is None
    mapping = detect_columns(table.schema, mask_column="mask")
    assert mapping.describe().endswith(", mask=mask")
    assert mapping.without_mask() == detect_columns(table.schema)
    assert [given.mask for given in _read(table)] == [None, None]
    assert [given.mask for given in _read(table, mask_column="mask")] == [{"size": [2, 3], "counts": "06"}, None]
    assert _read(table, mask_column="polygons")[0].mask == [[0.5, 1, 2, 2.25, 0, 3]]


def test_masks_larger_than_any_are_not_read() -> None:
    image, phrase = pa.array([b"x"]), pa.array(["a"])
    runs = pa.array([[1] * (MAX_MASK_VALUES + 1)], pa.list_(pa.int8()))
    given = _read(pa.table({"image": image, "phrase": phrase, "mask": runs}), mask_column="mask")[0]
    assert isinstance(given.mask, Oversized)
    assert given.error is None


def test_bytes_path_and_neither_in_an_image_struct() -> None:
    images = [{"bytes": b"x", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, {"bytes": None, "path": None}, None]
    table = pa.table({"image": pa.array(images, IMAGE_STRUCT), "phrase": ["p"] * 4, "image_id": [7, 8, 9, None]})
    rows = _read(table)
    assert [row.image_bytes for row in rows] == [b"x", None, None, None]
    assert [row.image_uri for row in rows] == [None, "b.jpg", None, None]
    assert [row.error for row in rows] == [None, None, "image: neither bytes nor a path", "image: null"]
    assert [row.image_id for row in rows] == ["7", "8", "9", "row-3"]


def test_images_in_lists_and_lists_of_numbers() -> None:
    kinds = {
        "bytes": pa.list_(pa.binary()),
        "numbers": pa.list_(pa.list_(pa.uint8())),
        "structs": pa.list_(IMAGE_STRUCT),
    }
    for name, kind in kinds.items():
        made = [{"bytes": one, "path": None} if name == "structs" else one for one in (b"one", b"two")]
        cells = [[made[0]], made, [], None, [None]]
        table = pa.table({"images": pa.array(cells, kind), "phrase": ["p"] * 5})
        rows = _read(table)
        assert [row.image_bytes for row in rows] == [b"one", None, None, None, None]
        assert [row.error for row in rows] == [
            None,
            "image: 2 images in one row; choose one with --image-index, or give each a row of its own",
            "image: the list is empty",
            "image: null",
            "image: null",
        ]
        rows = _read(table, image_index=1)
        assert [row.image_bytes for row in rows] == [None, b"two", None, None, None]
        assert rows[0].error == "image: --image-index 1, and the row has 1"
    plain = pa.table({"image": pa.array([list(b"xyz"), None], pa.large_list(pa.uint8())), "phrase": ["p", "p"]})
    assert [row.image_bytes for row in _read(plain)] == [b"xyz", None]
    paths = pa.table({"images": [["a.jpg"], ["a.jpg", "b.jpg"]], "phrase": ["p", "p"]})
    assert [row.image_uri for row in _read(paths, image_index=0)] == ["a.jpg", "a.jpg"]


def test_base64_in_a_string_column_is_an_image_and_no_path() -> None:
    data = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
    text = base64.b64encode(data).decode()
    cells = [text, f"data:image/png;base64,{text}", "data:image/png;base64,!", "a.png", f"{text}!"]
    rows = _read(pa.table({"image": cells, "phrase": ["p"] * 5}))
    assert [row.image_bytes for row in rows] == [data, data, None, None, None]
    assert [row.image_uri for row in rows] == [None, None, None, "a.png", None]
    assert [row.error is None for row in rows] == [True, True, False, True, False]
    assert "data: URI that is not base64" in str(rows[2].error)


def test_ids_of_any_type_are_text() -> None:
    for cells in (pa.array([1001.0, None]), pa.array([Decimal("1001.00"), None], pa.decimal128(38, 2))):
        rows = _read(pa.table({"image_id": cells, "image": [b"x"] * 2, "phrase": ["p"] * 2}))
        assert [row.image_id for row in rows] == ["1001", "row-1"]
    uuids = pa.array([UUID(int=7).bytes, None], pa.uuid())
    rows = _read(pa.table({"image_id": uuids, "image": [b"x"] * 2, "phrase": ["p"] * 2}))
    assert [row.image_id for row in rows] == ["00000000-0000-0000-0000-000000000007", "row-1"]
    assert [row.error for row in rows] == [None, None]


def test_cells_of_a_column_without_values_are_null() -> None:
    rows = _read(
        pa.table({"image": [b"x"], "phrase": pa.nulls(1)}),
        mapping=detect_columns(pa.schema({"image": pa.binary(), "phrase": pa.string()})),
    )
    assert rows[0].error == "phrase: null"
    empty = pa.table({"image": [b"x"] * 2, "phrases": pa.array([[], [None]], pa.list_(pa.null()))})
    rows = _read(empty, mapping=detect_columns(pa.schema({"image": pa.binary(), "phrases": pa.list_(pa.string())})))
    assert (rows[0].error, rows[1].phrase_errors) == ("phrase: the list is empty", ("phrase: null",))


def test_phrases_of_every_form() -> None:
    sentences = [[{"raw": "A", "sent": "a", "sent_id": 1}, {"raw": None, "sent": None, "sent_id": 2}], [], None]
    table = pa.table({"image": pa.array([b"x"] * 3, pa.binary()), "sentences": pa.array(sentences, SENTENCES)})
    rows = _read(table)
    assert rows[0].phrases == ["a", ""]
    assert rows[0].phrase_errors == (None, "phrase: null")
    assert [row.error for row in rows] == [None, "phrase: the list is empty", "phrase: null"]
    nested = pa.array([{"sent": ["a", "b"]}], pa.struct([("sent", pa.list_(pa.string()))]))
    assert _read(pa.table({"image": [b"x"], "sentences": nested}))[0].phrases == ["a", "b"]
    lists = pa.table({"image": [b"x"], "answer": [["a", "b", "a"]]})
    assert _read(lists)[0].phrases == ["a", "b", "a"]
    assert _read(pa.table({"image": [b"x"], "phrase": ["a"]}))[0].phrases == ["a"]


def test_text_that_is_not_utf8() -> None:
    offsets = pa.array([0, 2, 5, 6], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"ok\xff\xfe!z")])
    table = pa.table({"image": pa.array([b"x"] * 3, pa.binary()), "phrase": broken})
    rows = _read(table)
    assert [row.phrases for row in rows] == [["ok"], ["\ufffd\ufffd!"], ["z"]]
    assert [row.phrase_errors for row in rows] == [(None,), ("phrase: not valid UTF-8",), (None,)]
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3]), broken)
    rows = _read(pa.table({"image": pa.array([b"x"] * 2, pa.binary()), "phrase": lists}))
    assert [row.phrases for row in rows] == [["ok", "\ufffd\ufffd!"], ["z"]]
    structs = pa.ListArray.from_arrays(pa.array([0, 2, 3]), pa.StructArray.from_arrays([broken], ["sent"]))
    rows = _read(pa.table({"image": pa.array([b"x"] * 2, pa.binary()), "sentences": structs}))
    assert rows[0].phrase_errors == (None, "phrase: not valid UTF-8")
    rows = _read(pa.table({"image_id": broken, "image": pa.array([b"x"] * 3, pa.binary()), "phrase": ["p"] * 3}))
    assert [row.error for row in rows] == [None, "image id: not valid UTF-8", None]
    assert [row.image_id for row in rows] == ["ok", "row-1", "z"]
    rows = _read(pa.table({"path": broken, "phrase": ["p"] * 3}))
    assert [row.error for row in rows] == [None, "image uri: not valid UTF-8", None]


def test_long_texts_are_kept_short() -> None:
    row = _read(pa.table({"image": [b"x"], "phrase": ["p" * 10_000_000]}))[0]
    assert len(row.phrases[0]) == MAX_PHRASE_CHARS
    assert row.phrase_errors == ("phrase: 10000000 characters long, more than 4096",)
    row = _read(pa.table({"image_id": ["i" * 2000], "image": [b"x"], "phrase": ["p"]}))[0]
    assert (row.image_id, row.error) == ("row-0", "image id: 2000 characters long, more than 1024")
    row = _read(pa.table({"path": [" "], "phrase": ["p"]}))[0]
    assert row.error == "image uri: empty"


def test_too_many_phrases_in_one_row_are_one_failure() -> None:
    fits, too_many = [""] * MAX_PHRASES, [""] * (MAX_PHRASES + 1)
    rows = _read(pa.table({"image": [b"x"] * 3, "phrases": pa.array([fits, too_many, ["p"]], pa.list_(pa.string()))}))
    assert [len(row.phrases) for row in rows] == [MAX_PHRASES, 1, 1]
    assert rows[1].phrase_errors == ("phrase: 10001 values in one row, the limit is 10000",)
    assert rows[2].phrase_errors == (None,)
    nested = pa.list_(pa.struct([("sent", pa.list_(pa.string()))]))
    rows = _read(pa.table({"image": [b"x"], "sentences": pa.array([[{"sent": [""] * 200}] * 200], nested)}))
    assert len(rows[0].phrases) == 1


@pytest.mark.slow
def test_cells_of_gigabytes_are_not_copied() -> None:
    text = pa.array(["x" * (MAX_TEXT_BYTES + 1)])
    rows = _read(pa.table({"image": [b"x"], "phrase": text}))
    assert rows[0].phrase_errors == (f"phrase: {MAX_TEXT_BYTES + 1} bytes of text, the limit for a row is 67108864",)
    image = pa.array([bytes(2**28 + 1)], pa.large_binary())
    tracemalloc.start()
    try:
        row = _read(pa.table({"image": image, "phrase": ["p"]}))[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert row.error == "image: 268435457 bytes, the limit for a row is 268435456"
    assert peak < 5_000_000


def test_fields_that_nobody_asked_for_cannot_spoil_a_row() -> None:
    kind = pa.list_(pa.struct([("sent", pa.string()), ("when", pa.timestamp("us"))]))
    never = pa.array([[{"sent": "a", "when": 2**62}], [{"sent": "b", "when": 0}]], kind)
    rows = _read(pa.table({"image": [b"x", b"y"], "sentences": never}))
    assert [row.phrases for row in rows] == [["a"], ["b"]]


class _Executing(pa.ExtensionType):  # type: ignore[misc]
    """As types that Ray registers: reading a value runs code that the value chooses."""

    ran: ClassVar[list[bytes]] = []

    def __init__(self, storage: pa.DataType) -> None:
        super().__init__(storage, "tests.executing")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, _: bytes) -> _Executing:
        return cls(storage)

    def __arrow_ext_scalar_class__(self) -> type:
        return _ExecutingScalar


class _ExecutingScalar(pa.ExtensionScalar):  # type: ignore[misc]
    def as_py(self) -> object:
        _Executing.ran.append(self.value.as_py())
        return 0


def test_extension_types_never_run_their_own_code() -> None:
    def hostile(storage: pa.Array) -> pa.Array:
        return pa.ExtensionArray.from_storage(_Executing(storage.type), storage)

    image, phrase = hostile(pa.array([b"x"], pa.large_binary())), hostile(pa.array(["p"]))
    assert phrase[0].as_py() == 0
    assert _Executing.ran == ["p"]  # type: ignore[comparison-overlap]
    sentences = pa.ListArray.from_arrays([0, 1], pa.StructArray.from_arrays([phrase], ["sent"]))
    images = pa.StructArray.from_arrays([image, hostile(pa.array(["a.jpg"]))], ["bytes", "path"])
    for table in (
        pa.table({"image_id": phrase, "image": image, "phrase": phrase}),
        pa.table({"image_id": phrase, "image": images, "sentences": sentences}),
    ):
        row = _read(table)[0]
        assert (row.image_id, row.image_bytes, row.phrases, row.error) == ("p", b"x", ["p"], None)
    assert _Executing.ran == ["p"]  # type: ignore[comparison-overlap]


@pytest.mark.slow
def test_rows_are_made_one_at_a_time() -> None:
    image = pa.array([bytes(1_000_000)] * 40, pa.binary())
    table = pa.table({"image": image, "phrase": ["p"] * 40})
    mapping = detect_columns(table.schema)
    tracemalloc.start()
    try:
        assert sum(len(row["image"]) for row in iter_rows(table, mapping)) == 40_000_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_only_mapped_columns_are_converted() -> None:
    table = pa.table({"image": [b"x"], "phrase": ["p"], "other": [1]})
    assert list(iter_rows(table, detect_columns(table.schema))) == [{"image": b"x", "phrase": "p"}]


CELLS = st.recursive(
    st.one_of(
        st.none(),
        st.text(),
        st.binary(),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.just(datetime.date(2020, 1, 1)),
        st.just("\ud800"),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["bytes", "path", "sent"]), inner),
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(["image", "phrase", "id"]), CELLS),
    st.sampled_from(["bytes", "uri", "struct"]),
    st.sampled_from([None, "sent"]),
)
def test_no_cell_raises(row: Any, image_kind: Any, phrase_field: Any) -> None:
    mapping = ColumnMapping(
        image="image", phrase="phrase", id="id", image_kind=image_kind, phrase_field=phrase_field, path_field="path"
    )
    read = read_row(row, mapping, default_id="row-1")
    assert read.image_id
    assert len(read.phrases) == len(read.phrase_errors)
    for text in (read.image_id, read.image_uri or "", *read.phrases):
        assert text.encode("utf-8").decode("utf-8") == text
    if read.error is None:
        assert read.phrases
        assert (read.image_bytes is None) != (read.image_uri is None)


@pytest.mark.parametrize(
    ("cell", "image_id", "error"),
    [
        (7, "7", None),
        (7.0, "7", None),
        (7.5, "row", "image id: float instead of text"),
        (math.nan, "row", None),
        ("", "row", None),
        (b"\xff", "row", "image id: not valid UTF-8"),
    ],
)
def test_ids_are_text_or_whole_numbers(cell: object, image_id: str, error: str | None) -> None:
    mapping = ColumnMapping(
        image="image", phrase="phrase", id="id", image_kind="bytes", phrase_field=None, path_field=None
    )
    found = read_row({"image": b"x", "phrase": "p", "id": cell}, mapping, default_id="row")
    assert (found.image_id, found.error) == (image_id, error)
