"""Every schema that people have is found, unclear ones are refused with a way out, and no cell raises."""

import datetime
import tracemalloc
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.pipeline.table.columns import (
    ID_NAMES,
    IMAGE_NAMES,
    PHRASE_FIELDS,
    PHRASE_NAMES,
    ColumnMapping,
    detect_columns,
)
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

IMAGE_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SENTENCES = pa.list_(pa.struct([("raw", pa.string()), ("sent", pa.string()), ("sent_id", pa.int64())]))


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


SCHEMAS = {
    "hugging face image": (
        _schema(image_id=pa.int64(), image=IMAGE_STRUCT, phrase=pa.string()),
        "image=image (struct), phrase=phrase, id=image_id",
    ),
    "binary": (_schema(image=pa.binary(), phrases=pa.list_(pa.string())), "image=image (bytes), phrase=phrases, id="),
    "large binary": (_schema(jpg=pa.large_binary(), txt=pa.large_string()), "image=jpg (bytes), phrase=txt, id="),
    "binary view": (_schema(bytes=pa.binary_view(), text=pa.string_view()), "image=bytes (bytes), phrase=text, id="),
    "laion": (_schema(URL=pa.string(), TEXT=pa.string()), "image=URL (uri), phrase=TEXT, id="),
    "webdataset": (
        _schema(__key__=pa.string(), webp=pa.binary(), caption=pa.string()),
        "image=webp (bytes), phrase=caption, id=__key__",
    ),
    "uri": (_schema(id=pa.string(), image_url=pa.string(), captions=pa.list_(pa.string())), "image=image_url (uri), "),
    "uri in image": (_schema(image=pa.string(), phrase=pa.string()), "image=image (uri), phrase=phrase"),
    "file name": (_schema(file_name=pa.string(), text=pa.string()), "image=file_name (uri), phrase=text"),
    "dictionary": (
        _schema(path=pa.dictionary(pa.int32(), pa.string()), phrase=pa.dictionary(pa.int8(), pa.string())),
        "image=path (uri), phrase=phrase",
    ),
    "lmms-lab/RefCOCO": (
        _schema(
            question_id=pa.string(),
            image=IMAGE_STRUCT,
            question=pa.string(),
            answer=pa.list_(pa.string()),
            segmentation=pa.list_(pa.float64()),
            bbox=pa.list_(pa.float64()),
            iscrowd=pa.int64(),
            file_name=pa.string(),
        ),
        "image=image (struct), phrase=answer, id=",
    ),
    "jxu124/refcoco": (
        _schema(
            sentences=SENTENCES,
            ann_id=pa.int64(),
            ref_id=pa.int64(),
            image_id=pa.int64(),
            split=pa.string(),
            file_name=pa.string(),
            raw_sentences=pa.string(),
            image_path=pa.string(),
            captions=pa.list_(pa.string()),
        ),
        "image=image_path (uri), phrase=sentences[].sent, id=image_id",
    ),
    "struct of a list": (
        _schema(image=pa.binary(), sentences=pa.struct([("sent", pa.list_(pa.string()))])),
        "phrase=sentences[].sent",
    ),
    "single struct": (
        _schema(image=pa.binary(), sentence=pa.struct([("sent", pa.string())])),
        "phrase=sentence[].sent",
    ),
    "types alone": (
        _schema(picture=IMAGE_STRUCT, expressions=pa.list_(pa.string()), split=pa.string()),
        "image=picture (struct), phrase=expressions",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_found(name):
    schema, expected = SCHEMAS[name]
    assert expected in detect_columns(schema).describe()


def test_column_names_cannot_steer_a_terminal():
    mapping = detect_columns(_schema(**{"a\x1b[31m\u202e": pa.binary(), "phrase\n": pa.list_(pa.string())}))
    assert mapping.image == "a\x1b[31m\u202e"
    assert mapping.describe().isprintable()


UNCLEAR = {
    "two images": (_schema(jpg=pa.binary(), png=pa.binary(), phrase=pa.string()), "image.*jpg, png.*--image-column"),
    "two uris": (_schema(url=pa.string(), path=pa.string(), phrase=pa.string()), "image.*url, path.*--image-column"),
    "two cases": (_schema(image=pa.binary(), Image=pa.binary(), phrase=pa.string()), "image, Image.*--image-column"),
    "two phrases": (
        _schema(image=pa.binary(), caption=pa.string(), text=pa.string()),
        "caption, text.*--phrase-column",
    ),
    "no image": (
        _schema(phrase=pa.string(), n=pa.int64()),
        r"no image column.*--image-column.*phrase \(string\), n \(int64\)",
    ),
    "no phrase": (_schema(image=pa.binary(), split=pa.string()), "no phrase column.*--phrase-column.*split"),
    "two binaries": (_schema(a=pa.binary(), b=pa.binary(), phrase=pa.string()), "ambiguous: a, b"),
    "image of a wrong type": (_schema(image=pa.int64(), phrase=pa.string()), "no image column"),
    "nothing": (pa.schema([]), "Columns: none"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_unclear_schemas_name_candidates_and_flag(name):
    schema, message = UNCLEAR[name]
    with pytest.raises(ValueError, match=message):
        detect_columns(schema)


def test_flags_override():
    schema = _schema(
        url=pa.string(), path=pa.string(), text=pa.string(), s=SENTENCES, key=pa.string(), image_id=pa.int64()
    )
    mapping = detect_columns(schema, image_column="path", phrase_column="s[].raw", id_column="key")
    assert mapping.describe() == "image=path (uri), phrase=s[].raw, id=key"
    assert mapping.columns() == ["key", "path", "s"]
    assert detect_columns(schema, image_column="url", phrase_column="s.sent").phrase_field == "sent"
    assert detect_columns(schema, image_column="url", phrase_column="s").phrase_field == "sent"
    assert detect_columns(schema, image_column="url", id_column="").id is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"image_column": "nope"}, "--image-column nope: no such column. Columns: image, n, phrase, twice, twice"),
        ({"image_column": "n"}, "--image-column n: type int64 holds no image"),
        ({"phrase_column": "n"}, "--phrase-column n: type int64 holds no text"),
        ({"phrase_column": "phrase.sent"}, "--phrase-column phrase.sent: type string holds no text"),
        ({"id_column": "image"}, "--id-column image: type binary is no id"),
        ({"id_column": "twice"}, "--id-column twice: 2 columns have this name"),
        ({"mask_column": "nope"}, "--mask-column nope: no such column"),
        ({"mask_column": "n"}, "--mask-column n: type int64 is no mask"),
    ],
)
def test_wrong_flags_are_named(flags, message):
    twice = [("twice", pa.string())] * 2
    fields = [("image", pa.binary()), ("n", pa.int64()), ("phrase", pa.string()), *twice]
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        detect_columns(pa.schema(fields), **flags)


def test_true_masks_are_read_only_where_they_are_asked_for():
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


def test_masks_larger_than_any_are_not_read():
    image, phrase = pa.array([b"x"]), pa.array(["a"])
    runs = pa.array([[1] * (MAX_MASK_VALUES + 1)], pa.list_(pa.int8()))
    given = _read(pa.table({"image": image, "phrase": phrase, "mask": runs}), mask_column="mask")[0]
    assert isinstance(given.mask, Oversized)
    assert given.error is None


def _read(table: pa.Table, **flags: str) -> list[InputRow]:
    mapping = detect_columns(table.schema, **flags)
    return [read_row(row, mapping, default_id=f"row-{index}") for index, row in enumerate(iter_rows(table, mapping))]


def test_bytes_path_and_neither_in_an_image_struct():
    images = [{"bytes": b"x", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, {"bytes": None, "path": None}, None]
    table = pa.table({"image": pa.array(images, IMAGE_STRUCT), "phrase": ["p"] * 4, "image_id": [7, 8, 9, None]})
    rows = _read(table)
    assert [row.image_bytes for row in rows] == [b"x", None, None, None]
    assert [row.image_uri for row in rows] == [None, "b.jpg", None, None]
    assert [row.error for row in rows] == [None, None, "image: neither bytes nor a path", "image: null"]
    assert [row.image_id for row in rows] == ["7", "8", "9", "row-3"]


def test_phrases_of_every_form():
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


def test_text_that_is_not_utf8():
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


def test_long_texts_are_kept_short():
    row = _read(pa.table({"image": [b"x"], "phrase": ["p" * 10_000_000]}))[0]
    assert len(row.phrases[0]) == MAX_PHRASE_CHARS
    assert row.phrase_errors == ("phrase: 10000000 characters long, more than 4096",)
    row = _read(pa.table({"image_id": ["i" * 2000], "image": [b"x"], "phrase": ["p"]}))[0]
    assert (row.image_id, row.error) == ("row-0", "image id: 2000 characters long, more than 1024")
    row = _read(pa.table({"path": [" "], "phrase": ["p"]}))[0]
    assert row.error == "image uri: empty"


def test_too_many_phrases_in_one_row_are_one_failure():
    fits, too_many = [""] * MAX_PHRASES, [""] * (MAX_PHRASES + 1)
    rows = _read(pa.table({"image": [b"x"] * 3, "phrases": pa.array([fits, too_many, ["p"]], pa.list_(pa.string()))}))
    assert [len(row.phrases) for row in rows] == [MAX_PHRASES, 1, 1]
    assert rows[1].phrase_errors == ("phrase: 10001 values in one row, the limit is 10000",)
    assert rows[2].phrase_errors == (None,)
    nested = pa.list_(pa.struct([("sent", pa.list_(pa.string()))]))
    rows = _read(pa.table({"image": [b"x"], "sentences": pa.array([[{"sent": [""] * 200}] * 200], nested)}))
    assert len(rows[0].phrases) == 1


def test_cells_of_gigabytes_are_not_copied():
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
    assert row.error == "image: 268435457 bytes, the limit is 268435456"
    assert peak < 5_000_000


def test_fields_that_nobody_asked_for_cannot_spoil_a_row():
    kind = pa.list_(pa.struct([("sent", pa.string()), ("when", pa.timestamp("us"))]))
    never = pa.array([[{"sent": "a", "when": 2**62}], [{"sent": "b", "when": 0}]], kind)
    rows = _read(pa.table({"image": [b"x", b"y"], "sentences": never}))
    assert [row.phrases for row in rows] == [["a"], ["b"]]


class _Executing(pa.ExtensionType):
    """As types that Ray registers: reading a value runs code that the value chooses."""

    ran: ClassVar[list[bytes]] = []

    def __init__(self, storage: pa.DataType) -> None:
        super().__init__(storage, "tests.executing")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, _: bytes) -> "_Executing":
        return cls(storage)

    def __arrow_ext_scalar_class__(self) -> type:
        return _ExecutingScalar


class _ExecutingScalar(pa.ExtensionScalar):
    def as_py(self) -> object:
        _Executing.ran.append(self.value.as_py())
        return 0


def test_extension_types_never_run_their_own_code():
    def hostile(storage: pa.Array) -> pa.Array:
        return pa.ExtensionArray.from_storage(_Executing(storage.type), storage)

    image, phrase = hostile(pa.array([b"x"], pa.large_binary())), hostile(pa.array(["p"]))
    assert phrase[0].as_py() == 0
    assert _Executing.ran == ["p"]
    sentences = pa.ListArray.from_arrays([0, 1], pa.StructArray.from_arrays([phrase], ["sent"]))
    images = pa.StructArray.from_arrays([image, hostile(pa.array(["a.jpg"]))], ["bytes", "path"])
    for table in (
        pa.table({"image_id": phrase, "image": image, "phrase": phrase}),
        pa.table({"image_id": phrase, "image": images, "sentences": sentences}),
    ):
        row = _read(table)[0]
        assert (row.image_id, row.image_bytes, row.phrases, row.error) == ("p", b"x", ["p"], None)
    assert _Executing.ran == ["p"]


def test_rows_are_made_one_at_a_time():
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


def test_only_mapped_columns_are_converted():
    table = pa.table({"image": [b"x"], "phrase": ["p"], "other": [1]})
    assert list(iter_rows(table, detect_columns(table.schema))) == [{"image": b"x", "phrase": "p"}]


def test_the_documentation_lists_every_name():
    text = (Path(__file__).parents[3] / "docs" / "input-and-output.md").read_text(encoding="utf-8")
    for names in (*IMAGE_NAMES, *PHRASE_NAMES, *ID_NAMES, PHRASE_FIELDS):
        assert all(f"`{name}`" in text for name in names)


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


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(["image", "phrase", "id"]), CELLS),
    st.sampled_from(["bytes", "uri", "struct"]),
    st.sampled_from([None, "sent"]),
)
def test_no_cell_raises(row, image_kind, phrase_field):
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
