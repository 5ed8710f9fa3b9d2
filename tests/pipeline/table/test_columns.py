"""Every schema that people have is found, unclear ones are refused with a way out, and no cell raises."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from litelvlm.pipeline.table.columns import (
    ID_NAMES,
    IMAGE_NAMES,
    PHRASE_FIELDS,
    PHRASE_NAMES,
    detect_columns,
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
def test_schemas_are_found(name: Any) -> None:
    schema, expected = SCHEMAS[name]
    assert expected in detect_columns(schema).describe()


def test_column_names_cannot_steer_a_terminal() -> None:
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
def test_unclear_schemas_name_candidates_and_flag(name: Any) -> None:
    schema, message = UNCLEAR[name]
    with pytest.raises(ValueError, match=message):
        detect_columns(schema)


def test_flags_override() -> None:
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
        (
            {"image_column": "nope"},
            "--image-column nope: no such column. Columns: image, n, phrase, twice, twice, listed, mapped",
        ),
        ({"image_column": "n"}, "--image-column n: type int64 holds no image"),
        ({"phrase_column": "n"}, "--phrase-column n: type int64 holds no text"),
        ({"phrase_column": "phrase.sent"}, "--phrase-column phrase.sent: type string holds no text"),
        ({"id_column": "image"}, "--id-column image: it holds the images themselves"),
        ({"id_column": "listed"}, "--id-column listed: type list<element: string> is no id; expected text, a number"),
        ({"phrase_column": "mapped"}, "is a map, whose keys have no order: write its keys or values as a list"),
        ({"image_index": 1}, "--image-index 1: the image column image holds one image a row, no list"),
        ({"id_column": "twice"}, "--id-column twice: 2 columns have this name"),
        ({"mask_column": "nope"}, "--mask-column nope: no such column"),
        ({"mask_column": "n"}, "--mask-column n: type int64 is no mask"),
    ],
)
def test_wrong_flags_are_named(flags: Any, message: str) -> None:
    twice = [("twice", pa.string())] * 2
    more = [("listed", pa.list_(pa.field("element", pa.string()))), ("mapped", pa.map_(pa.string(), pa.string()))]
    fields = [("image", pa.binary()), ("n", pa.int64()), ("phrase", pa.string()), *twice, *more]
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        detect_columns(pa.schema(fields), **flags)


BYTES_AND_PATH = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize(
    ("name", "kind", "described"),
    [
        ("image", pa.list_(pa.uint8()), "image=image (bytes)"),
        ("image", pa.large_list(pa.uint8()), "image=image (bytes)"),
        ("photo", pa.list_(pa.uint8()), "image=photo (bytes)"),
        ("image", pa.binary(500), "image=image (bytes)"),
        ("images", pa.list_(BYTES_AND_PATH), "image=images[] (struct)"),
        ("photos", pa.list_(BYTES_AND_PATH), "image=photos[] (struct)"),
        ("images", pa.list_(pa.binary()), "image=images[] (bytes)"),
        ("images", pa.list_(pa.list_(pa.uint8())), "image=images[] (bytes)"),
        ("images", pa.list_(pa.string()), "image=images[] (uri)"),
        ("images", pa.list_view(pa.string()), "image=images[] (uri)"),
    ],
)
def test_images_in_any_spelling_of_bytes_and_in_lists(name: str, kind: pa.DataType, described: str) -> None:
    schema = pa.schema({name: kind, "phrases": pa.list_(pa.string()), "sha1": pa.binary(20)})
    assert detect_columns(schema).describe().startswith(described)
    if "[]" in described:
        assert detect_columns(schema, image_index=2).describe().startswith(described.replace("[]", "[2]"))


@pytest.mark.parametrize(
    "kind",
    [pa.uuid(), pa.binary(16), pa.binary(), pa.float64(), pa.decimal128(38, 0), pa.date32(), pa.timestamp("us"),
     pa.time64("us"), pa.bool_(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()],
)  # fmt: skip
def test_an_id_has_any_scalar_type(kind: pa.DataType) -> None:
    schema = pa.schema({"image_id": kind, "image": pa.binary(), "phrase": pa.string()})
    assert detect_columns(schema).id == "image_id"


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.struct({"$oid": pa.string()}), pa.duration("s")])
def test_a_column_that_is_named_like_an_id_and_cannot_be_one_is_refused_by_name(kind: pa.DataType) -> None:
    schema = pa.schema({"_id": pa.string(), "ID": kind, "image": pa.binary(), "phrase": pa.string()})
    with pytest.raises(ValueError, match=r"the id column ID has type .*, which is no id; .* name another with --id-"):
        detect_columns(schema)
    assert detect_columns(schema, id_column="_id").id == "_id"
    assert detect_columns(schema, id_column="").id is None
    empty = pa.schema({"id": pa.null(), "image": pa.binary(), "phrase": pa.string()})
    assert detect_columns(empty).id is None


def test_phrases_in_a_map_are_refused_with_a_way_out() -> None:
    schema = pa.schema({"image": pa.binary(), "phrases": pa.map_(pa.string(), pa.string())})
    with pytest.raises(
        ValueError, match=r"no phrase column found.* is a map, .* as a list of strings\. Columns: image"
    ):
        detect_columns(schema)


def test_the_documentation_lists_every_name() -> None:
    text = (Path(__file__).parents[3] / "docs" / "input-and-output.md").read_text(encoding="utf-8")
    for names in (*IMAGE_NAMES, *PHRASE_NAMES, *ID_NAMES, PHRASE_FIELDS):
        assert all(f"`{name}`" in text for name in names)
