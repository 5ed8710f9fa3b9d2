"""Which columns of an input table hold the image, the phrases and the id, and what one row says.

Two steps: `detect_columns` looks at a schema once and fails loudly when it is unclear; `read_row` looks at one row
and never raises for what a cell contains, because one bad row must not end a run.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

ImageKind = Literal["bytes", "uri", "struct"]

# Earlier groups win over later ones; two matches inside one group are ambiguous. Names compare without case.
IMAGE_NAMES = (
    ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes"),
    ("uri", "url", "image_uri", "image_url", "path", "image_path"),
    ("file_name",),
)
PHRASE_NAMES = (
    ("phrase", "phrases"),
    ("sentences", "sentence"),
    ("caption", "captions", "text", "txt"),
    ("answer",),
)
ID_NAMES = (("image_id",), ("id",), ("__key__",))
PHRASE_FIELDS = ("sent", "phrase", "caption", "text")
PATH_FIELDS = ("path", "uri", "url")

MAX_PHRASE_CHARS = 4096
MAX_ID_CHARS = 1024
MAX_URI_CHARS = 8192


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """The columns to read. `phrase_field` is the struct field that holds the text, or None for plain strings."""

    image: str
    phrase: str
    id: str | None
    image_kind: ImageKind
    phrase_field: str | None = None
    path_field: str | None = None

    def columns(self) -> list[str]:
        """Names to read from the table, without repeats, in a fixed order."""
        return list(dict.fromkeys(name for name in (self.id, self.image, self.phrase) if name is not None))

    def describe(self) -> str:
        """One line for people, e.g. ``image=image (struct), phrase=sentences[].sent, id=image_id``."""
        phrase = f"{self.phrase}[].{self.phrase_field}" if self.phrase_field else self.phrase
        return f"image={self.image} ({self.image_kind}), phrase={phrase}, id={self.id or '(made from the position)'}"


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """What one row asks for.

    `error` is set when nothing in the row can be annotated. Otherwise exactly one of `image_bytes` and `image_uri` is
    set and `phrases` is not empty. `phrase_errors` runs parallel to `phrases`: None, or why that one phrase cannot be
    used (null, not UTF-8, too long); its text is then what could be read, shortened.
    """

    image_id: str
    image_bytes: bytes | None
    image_uri: str | None
    phrases: list[str]
    error: str | None
    phrase_errors: tuple[str | None, ...] = ()


def detect_columns(
    schema: pa.Schema,
    *,
    image_column: str | None = None,
    phrase_column: str | None = None,
    id_column: str | None = None,
) -> ColumnMapping:
    """Choose the columns by flag, else by name, else by type.

    `phrase_column` may name a struct field (``sentences.sent`` or ``sentences[].sent``). `id_column=""` means that
    ids are made from the row's position. Raises ValueError that names the candidates and the flag when a column is
    missing, of an unusable type, or ambiguous.
    """
    image = _image_column(schema, image_column)
    phrase, phrase_field = _phrase_column(schema, phrase_column, image)
    return ColumnMapping(
        image=image,
        phrase=phrase,
        id=_id_column(schema, id_column),
        image_kind=_image_kind(schema.field(image).type) or "bytes",
        phrase_field=phrase_field,
        path_field=_path_field(schema.field(image).type),
    )


def iter_rows(table: pa.Table | pa.RecordBatch, mapping: ColumnMapping) -> Iterator[dict[str, Any]]:
    """Rows as dicts of the mapped columns only. A string column with invalid UTF-8 comes as bytes instead of
    raising."""
    names = mapping.columns()
    columns = [_to_python(table.column(name)) for name in names]
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True))


def read_row(row: Mapping[str, Any], mapping: ColumnMapping, *, default_id: str) -> InputRow:
    """Read one row (a dict by column name). Never raises for cell content: `error` says what is wrong with it."""
    image_id, id_error = _read_id(row.get(mapping.id) if mapping.id else None, default_id)
    phrases, phrase_errors, phrases_error = _read_phrases(row.get(mapping.phrase), mapping.phrase_field)
    image_bytes, image_uri, image_error = _read_image(row.get(mapping.image), mapping)
    return InputRow(
        image_id=image_id,
        image_bytes=image_bytes,
        image_uri=image_uri,
        phrases=phrases,
        error=id_error or image_error or phrases_error,
        phrase_errors=phrase_errors,
    )


# ---- detection ----


def _image_column(schema: pa.Schema, wanted: str | None) -> str:
    flag = "--image-column"
    usable = [field.name for field in schema if _image_kind(field.type)]
    if wanted:
        _check_wanted(schema, wanted, flag)
        if wanted not in usable:
            raise ValueError(
                f"{flag} {wanted}: type {schema.field(wanted).type} holds no image; "
                "expected binary, string or struct<bytes, path>"
            )
        return wanted
    found = _by_name(usable, IMAGE_NAMES, flag, "image")
    if found:
        return found
    by_type = [name for name in usable if _image_kind(schema.field(name).type) in ("bytes", "struct")]
    return _only(by_type, flag, "image", schema)


def _phrase_column(schema: pa.Schema, wanted: str | None, image: str) -> tuple[str, str | None]:
    flag = "--phrase-column"
    if wanted:
        return _wanted_phrase(schema, wanted, flag)
    usable = [field.name for field in schema if field.name != image and _phrase_shape(field.type) is not None]
    found = _by_name(usable, PHRASE_NAMES, flag, "phrase")
    if not found:
        # A lone string column may be anything (a split, a licence); lists of texts are hardly anything else.
        lists = [name for name in usable if not _is_text(_value_type(schema.field(name).type))]
        found = _only(lists, flag, "phrase", schema)
    return found, _phrase_shape(schema.field(found).type) or None


def _wanted_phrase(schema: pa.Schema, wanted: str, flag: str) -> tuple[str, str | None]:
    column, field = wanted, None
    if wanted not in schema.names and "." in wanted:
        column, field = wanted.rsplit(".", 1)
        column = column.removesuffix("[]")
    _check_wanted(schema, column, flag)
    shape = _phrase_shape(schema.field(column).type, field)
    if shape is None:
        raise ValueError(
            f"{flag} {wanted}: type {schema.field(column).type} holds no text; "
            "expected string, list<string> or list<struct<sent>>"
        )
    return column, shape or None


def _id_column(schema: pa.Schema, wanted: str | None) -> str | None:
    flag = "--id-column"
    if wanted == "":
        return None
    if wanted:
        _check_wanted(schema, wanted, flag)
        if not _is_id(schema.field(wanted).type):
            raise ValueError(f"{flag} {wanted}: type {schema.field(wanted).type} is no id; expected string or integer")
        return wanted
    return _by_name([field.name for field in schema if _is_id(field.type)], ID_NAMES, flag, "id")


def _by_name(usable: list[str], groups: tuple[tuple[str, ...], ...], flag: str, what: str) -> str | None:
    for group in groups:
        matches = [name for name in usable if name.lower() in group]
        if len(matches) > 1:
            raise ValueError(f"the {what} column is ambiguous: {', '.join(matches)}; choose one with {flag}")
        if matches:
            return matches[0]
    return None


def _only(candidates: list[str], flag: str, what: str, schema: pa.Schema) -> str:
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ValueError(f"the {what} column is ambiguous: {', '.join(candidates)}; choose one with {flag}")
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise ValueError(f"no {what} column found; name it with {flag}. Columns: {columns}")


def _check_wanted(schema: pa.Schema, wanted: str, flag: str) -> None:
    count = schema.names.count(wanted)
    if count != 1:
        trouble = "no such column" if count == 0 else f"{count} columns have this name"
        raise ValueError(f"{flag} {wanted}: {trouble}. Columns: {', '.join(schema.names) or 'none'}")


# ---- types ----


def _value_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_id(kind: pa.DataType) -> bool:
    kind = _value_type(kind)
    return _is_text(kind) or bool(pa.types.is_integer(kind))


def _image_kind(kind: pa.DataType) -> ImageKind | None:
    kind = _value_type(kind)
    if _is_binary(kind):
        return "bytes"
    if _is_text(kind):
        return "uri"
    if pa.types.is_struct(kind):
        has_bytes = kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
        return "struct" if has_bytes or _path_field(kind) else None
    return None


def _path_field(kind: pa.DataType) -> str | None:
    kind = _value_type(kind)
    if not pa.types.is_struct(kind):
        return None
    names = (name for name in PATH_FIELDS if kind.get_field_index(name) >= 0)
    return next((name for name in names if _is_text(_value_type(kind.field(name).type))), None)


def _phrase_shape(kind: pa.DataType, field: str | None = None) -> str | None:
    """None: no texts here. "": texts directly or in lists. Otherwise: the struct field that holds them."""
    kind = _value_type(kind)
    if _is_list(kind):
        kind = _value_type(kind.value_type)
    if pa.types.is_struct(kind):
        for name in (field,) if field else PHRASE_FIELDS:
            if kind.get_field_index(name) >= 0 and _phrase_shape(kind.field(name).type) == "":
                return name
        return None
    return "" if field is None and (_is_text(kind) or _is_binary(kind)) else None


# ---- cells ----


def _to_python(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_cell(column, index) for index in range(len(column))]


def _cell(column: pa.ChunkedArray | pa.Array, index: int) -> Any:
    try:
        return column[index].as_py()
    except UnicodeDecodeError:
        return _raw(column[index])


def _raw(scalar: pa.Scalar) -> Any:
    """A scalar with invalid UTF-8 as plain Python, its strings as bytes."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.DictionaryScalar):
        return _raw(scalar.value)
    if isinstance(scalar, pa.StructScalar):
        return {name: _raw(scalar[name]) for name in scalar}
    if _is_list(scalar.type):
        return [_raw(value) for value in scalar.values]
    return scalar.as_buffer().to_pybytes() if _is_text(scalar.type) else scalar.as_py()


def _read_id(cell: Any, default_id: str) -> tuple[str, str | None]:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return default_id, None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text, error = _read_text(cell if not isinstance(cell, int) else str(cell), MAX_ID_CHARS)
    if error:
        return default_id, f"image id: {error}"
    return text or default_id, None


def _read_text(cell: Any, max_chars: int) -> tuple[str, str | None]:
    """The text of a cell, and what is wrong with it. The text is always usable for display and at most `max_chars`
    long."""
    if cell is None:
        return "", "null"
    if isinstance(cell, bytes | bytearray | memoryview):
        data = bytes(cell)
        try:
            cell = data.decode("utf-8")
        except UnicodeDecodeError:
            return data[:max_chars].decode("utf-8", errors="replace"), "not valid UTF-8"
    if not isinstance(cell, str):
        return "", f"{type(cell).__name__} instead of text"
    if len(cell) > max_chars:
        return cell[:max_chars], f"{len(cell)} characters long, more than {max_chars}"
    if any("\ud800" <= char <= "\udfff" for char in cell):
        return cell.encode("utf-8", errors="replace").decode("utf-8"), "not valid UTF-8"
    return cell, None


def _read_phrases(cell: Any, field: str | None) -> tuple[list[str], tuple[str | None, ...], str | None]:
    texts = [_read_text(value, MAX_PHRASE_CHARS) for value in _phrase_cells(cell, field)]
    errors = tuple(error and f"phrase: {error}" for _, error in texts)
    if cell is None:
        return [], (), "phrase: null"
    return [text for text, _ in texts], errors, None if texts else "phrase: the list is empty"


def _phrase_cells(cell: Any, field: str | None) -> list[Any]:
    """The texts of a phrase cell, whatever nests them: text, list, struct, list of structs, struct of lists."""
    if isinstance(cell, Mapping):
        return _phrase_cells(cell.get(field), None) if field else [cell]
    if isinstance(cell, list | tuple):
        return [
            value
            for entry in cell
            for value in (_phrase_cells(entry, field) if isinstance(entry, Mapping) else [entry])
        ]
    return [cell]


def _read_image(cell: Any, mapping: ColumnMapping) -> tuple[bytes | None, str | None, str | None]:
    if cell is None:
        return None, None, "image: null"
    if mapping.image_kind == "struct":
        if not isinstance(cell, Mapping):
            return None, None, f"image: {type(cell).__name__} instead of a struct"
        data = cell.get("bytes")
        path = cell.get(mapping.path_field) if mapping.path_field else None
        if data is None and not path:
            return None, None, "image: neither bytes nor a path"
        cell = path if data is None else data
        return _image_uri(cell) if data is None else _image_bytes(cell)
    return _image_bytes(cell) if mapping.image_kind == "bytes" else _image_uri(cell)


def _image_bytes(cell: Any) -> tuple[bytes | None, str | None, str | None]:
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell), None, None
    return None, None, f"image: {type(cell).__name__} instead of bytes"


def _image_uri(cell: Any) -> tuple[bytes | None, str | None, str | None]:
    text, error = _read_text(cell, MAX_URI_CHARS)
    if error or not text.strip():
        return None, None, f"image uri: {error or 'empty'}"
    return None, text.strip(), None
