"""What one row of an input table asks for: an image, phrases, an id, or the reason why nothing can be done with it.

Nothing here raises for what a cell contains, because one bad row must not end a run. Cells are read from Arrow's
storage, never through the Python class of an extension type: a file chooses its types, and some registered ones
unpickle what they hold.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.id_text import id_text
from litelvlm.pipeline.table.inline_images import inline_image

MAX_PHRASES = 10_000
MAX_PHRASE_CHARS = 4096
MAX_ID_CHARS = 1024
MAX_URI_CHARS = 8192
# Larger cells are not even copied out of Arrow's buffers, where a few compressed kilobytes may stand for gigabytes.
MAX_TEXT_BYTES = 64 * 2**20
MAX_BINARY_BYTES = 256 * 2**20
MAX_MASK_VALUES = 4_000_000
MASK_FIELDS = ("size", "counts", "bytes", "path")


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """What one row asks for.

    `error` is set when nothing in the row can be annotated. Otherwise exactly one of `image_bytes` and `image_uri` is
    set and `phrases` is not empty. `phrase_errors` runs parallel to `phrases`: None, or why that one phrase cannot be
    used (null, not UTF-8, too long); its text is then what could be read, shortened. `mask` is the cell of true masks
    as it is, for `pipeline.table.true_masks` to parse. `image_name` is the path beside bytes, which are not read from
    there.
    """

    image_id: str
    image_bytes: bytes | None
    image_uri: str | None
    phrases: list[str]
    error: str | None
    phrase_errors: tuple[str | None, ...] = ()
    mask: Any = None
    image_name: str | None = None


#: Bytes, or a URI, or what is wrong.
_Image = tuple[bytes | None, str | None, str | None]


@dataclass(frozen=True)
class Oversized:
    """Stands for a cell that is too large to be read; `amount` says how large, and what the limit is."""

    amount: str


_LISTS = (
    pa.ListScalar,
    pa.LargeListScalar,
    pa.FixedSizeListScalar,
    pa.ListViewScalar,
    pa.LargeListViewScalar,
)
_BINARIES = (pa.BinaryScalar, pa.LargeBinaryScalar, pa.BinaryViewScalar, pa.FixedSizeBinaryScalar)
_TEXTS = (pa.StringScalar, pa.LargeStringScalar, pa.StringViewScalar)


class _TooLarge(Exception):
    """Ends the reading of a cell."""


def iter_rows(table: pa.Table | pa.RecordBatch, mapping: ColumnMapping) -> Iterator[dict[str, Any]]:
    """Rows as dicts of the mapped columns only, made one at a time: images are the bulk of a table.

    A string that is not valid UTF-8 comes as bytes, a cell that is too large as `Oversized`, and of a struct only the
    fields that matter: nothing that another field holds can spoil the row.
    """
    names = mapping.columns()
    readers = {name: _reader_of(name, mapping) for name in names}
    for batch in table.to_batches() if isinstance(table, pa.Table) else [table]:
        columns = [batch.column(name) for name in names]
        for index in range(batch.num_rows):
            yield {name: readers[name](column, index) for name, column in zip(names, columns, strict=True)}


def read_row(row: Mapping[str, Any], mapping: ColumnMapping, *, default_id: str) -> InputRow:
    """Read one row (a dict by column name). Never raises for cell content: `error` says what is wrong with it."""
    image_id, id_error = _read_id(row.get(mapping.id) if mapping.id else None, default_id)
    phrases, phrase_errors, phrases_error = _asked(row, mapping)
    image_bytes, image_uri, image_error = _read_image(row.get(mapping.image), mapping)
    return InputRow(
        image_id=image_id,
        image_bytes=image_bytes,
        image_uri=image_uri,
        phrases=phrases,
        error=id_error or image_error or phrases_error,
        phrase_errors=phrase_errors,
        mask=row.get(mapping.mask) if mapping.mask else None,
        image_name=_image_name(row.get(mapping.image), mapping) if image_bytes is not None else None,
    )


def raw_row(row: Mapping[str, Any], mapping: ColumnMapping) -> tuple[bytes | None, str | None, list[str | None]]:
    """Bytes and path of the image, and the phrases, of a row that is only passed on: what is wrong stays wrong.

    A phrase that is no text is None; one that is too long stays so.
    """
    data, uri, _ = _read_image(row.get(mapping.image), mapping)
    cell = row.get(mapping.phrase) if mapping.phrase else None
    texts = [] if cell is None else _phrase_cells(cell, mapping.phrase_field)
    name = _image_name(row.get(mapping.image), mapping) if data is not None else uri
    return data, name, [_raw_text(text) for text in texts]


def _raw_text(cell: Any) -> str | None:
    if isinstance(cell, str) and len(cell) > MAX_PHRASE_CHARS:
        return cell
    text, error = _read_text(cell, MAX_PHRASE_CHARS)
    return None if error else text


def _reader_of(name: str, mapping: ColumnMapping) -> Callable[[pa.Array, int], Any]:
    if name == mapping.mask:
        return partial(_cell, lambda: _MaskReader(MASK_FIELDS, MAX_MASK_VALUES))
    if name == mapping.id and name not in (mapping.image, mapping.phrase):
        return partial(_cell, _IdReader)
    fields = ("bytes", mapping.path_field, mapping.phrase_field)
    return partial(_cell, lambda: _CellReader(fields))


def _cell(reader: Callable[[], "_CellReader"], column: pa.Array, index: int) -> Any:
    try:
        return reader().read(_stored(column)[index])
    except _TooLarge as error:
        return Oversized(f"{error}")


def _stored(array: pa.Array) -> pa.Array:
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array


class _CellReader:
    """One cell as plain Python: None, bytes, str, int, lists of these, and dicts of the wanted struct fields."""

    def __init__(self, fields: tuple[str | None, ...] = (), max_values: int = MAX_PHRASES) -> None:
        self._fields = fields
        self._max_values = self._values_left = max_values
        self._text_bytes_left, self._binary_bytes_left = MAX_TEXT_BYTES, MAX_BINARY_BYTES

    def read(self, scalar: pa.Scalar) -> Any:
        """The value of a scalar. Raises _TooLarge."""
        while isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
            scalar = scalar.value
        if scalar is None or not scalar.is_valid:
            return None
        if isinstance(scalar, pa.StructScalar):
            places = {name: scalar.type.get_field_index(name) for name in self._fields if name is not None}
            return {name: self.read(scalar[place]) for name, place in places.items() if place >= 0}
        if isinstance(scalar, _LISTS):
            return self._read_list(scalar.values)
        if isinstance(scalar, _TEXTS):
            return self._read_text(scalar.as_buffer())
        if isinstance(scalar, _BINARIES):
            self._take_bytes(len(scalar.as_buffer()))
            return scalar.as_py()
        return self._read_number(scalar)

    def _read_number(self, scalar: pa.Scalar) -> Any:
        return scalar.as_py() if pa.types.is_integer(scalar.type) else scalar

    def _read_list(self, values: pa.Array) -> Any:
        if pa.types.is_uint8(values.type) and values.null_count == 0:
            return self._read_numbers_as_bytes(values)
        self._values_left -= len(values)
        if self._values_left < 0:
            raise _TooLarge(f"{len(values)} values in one row, the limit is {self._max_values}")
        return [self.read(value) for value in _stored(values)]

    def _read_numbers_as_bytes(self, values: pa.Array) -> Any:
        self._take_bytes(len(values))
        return values.to_numpy(zero_copy_only=True).tobytes()

    def _take_bytes(self, num_bytes: int) -> None:
        self._binary_bytes_left -= num_bytes
        if self._binary_bytes_left < 0:
            raise _TooLarge(f"{num_bytes} bytes, the limit for a row is {MAX_BINARY_BYTES}")

    def _read_text(self, buffer: pa.Buffer) -> str | bytes:
        self._text_bytes_left -= len(buffer)
        if self._text_bytes_left < 0:
            raise _TooLarge(f"{len(buffer)} bytes of text, the limit for a row is {MAX_TEXT_BYTES}")
        data = buffer.to_pybytes()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data


class _MaskReader(_CellReader):
    """A cell of true masks, whose polygons may hold fractions."""

    def _read_number(self, scalar: pa.Scalar) -> Any:
        return scalar.as_py() if pa.types.is_primitive(scalar.type) else scalar

    def _read_numbers_as_bytes(self, values: pa.Array) -> Any:
        return values.to_pylist()  # polygons and run lengths are lists of numbers


class _IdReader(_CellReader):
    """An id of any scalar type, as the text that `id_text` gives it."""

    def read(self, scalar: pa.Scalar) -> Any:
        while isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
            scalar = scalar.value
        if isinstance(scalar, _TEXTS):
            return super().read(scalar)
        return id_text(scalar) if scalar is not None and scalar.is_valid else None


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
    if isinstance(cell, Oversized):
        return "", cell.amount
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


def _asked(row: Mapping[str, Any], mapping: ColumnMapping) -> tuple[list[str], tuple[str | None, ...], str | None]:
    if mapping.phrase is None:
        return list(mapping.prompts), (None,) * len(mapping.prompts), None
    return _read_phrases(row.get(mapping.phrase), mapping.phrase_field)


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


def _read_image(cell: Any, mapping: ColumnMapping) -> _Image:
    if cell is None:
        return None, None, "image: null"
    if isinstance(cell, Oversized):
        return None, None, f"image: {cell.amount}"
    if mapping.image_list:
        return _read_listed(cell, mapping)
    return _read_one(cell, mapping)


def _read_listed(cells: Any, mapping: ColumnMapping) -> _Image:
    """The image of a list that is asked for, or its only one."""
    if not isinstance(cells, list | tuple):
        return None, None, f"image: {type(cells).__name__} instead of a list"
    index = mapping.image_index
    if index is None and len(cells) != 1:
        many = f"{len(cells)} images in one row; choose one with --image-index, or give each a row of its own"
        return None, None, f"image: {many if cells else 'the list is empty'}"
    if index is not None and index >= len(cells):
        return None, None, f"image: --image-index {index}, and the row has {len(cells)}"
    cell = cells[index or 0]
    return (None, None, "image: null") if cell is None else _read_one(cell, mapping)


def _read_one(cell: Any, mapping: ColumnMapping) -> _Image:
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


def _image_name(cell: Any, mapping: ColumnMapping) -> str | None:
    """The path that stands beside an image's bytes."""
    if mapping.image_list and isinstance(cell, list | tuple) and len(cell) > (mapping.image_index or 0):
        cell = cell[mapping.image_index or 0]
    path = cell.get(mapping.path_field) if isinstance(cell, Mapping) and mapping.path_field else None
    text, error = _read_text(path, MAX_URI_CHARS)
    return text.strip() or None if error is None else None


def _image_bytes(cell: Any) -> _Image:
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell), None, None
    return None, None, f"image: {type(cell).__name__} instead of bytes"


def _image_uri(cell: Any) -> _Image:
    if isinstance(cell, str) and (found := inline_image(cell)) is not None:
        return (found, None, None) if isinstance(found, bytes) else (None, None, f"image: {found.reason}")
    text, error = _read_text(cell, MAX_URI_CHARS)
    if error or not text.strip():
        return None, None, f"image uri: {error or 'empty'}"
    return None, text.strip(), None
