"""What one row of an input table asks for: an image, phrases, an id, or the reason why nothing can be done with it.

Nothing here raises for what a cell contains, because one bad row must not end a run.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from pipeline.columns import ColumnMapping

MAX_PHRASE_CHARS = 4096
MAX_ID_CHARS = 1024
MAX_URI_CHARS = 8192


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


def iter_rows(table: pa.Table | pa.RecordBatch, mapping: "ColumnMapping") -> Iterator[dict[str, Any]]:
    """Rows as dicts of the mapped columns only, made one at a time: images are the bulk of a table.

    A string that is not valid UTF-8 comes as bytes instead of raising.
    """
    names = mapping.columns()
    for batch in table.to_batches() if isinstance(table, pa.Table) else [table]:
        columns = [batch.column(name) for name in names]
        for index in range(batch.num_rows):
            yield {name: _cell(column, index) for name, column in zip(names, columns, strict=True)}


def read_row(row: Mapping[str, Any], mapping: "ColumnMapping", *, default_id: str) -> InputRow:
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


def _cell(column: pa.Array, index: int) -> Any:
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
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return [_raw(value) for value in scalar.values]
    is_text = isinstance(scalar, pa.StringScalar | pa.LargeStringScalar | pa.StringViewScalar)
    return scalar.as_buffer().to_pybytes() if is_text else scalar.as_py()


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


def _read_image(cell: Any, mapping: "ColumnMapping") -> tuple[bytes | None, str | None, str | None]:
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
