"""Which columns of an input table hold the image, the phrases and the id.

`detect_columns` looks at a schema once and fails loudly when it is unclear. What a row then holds is read by
`pipeline.table.rows`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from litelvlm.pipeline.config import InputConfig
from litelvlm.pipeline.table.types import is_binary, is_bytes, is_list, is_moment, is_number, is_text, stored_type

ImageKind = Literal["bytes", "uri", "struct"]

# Earlier groups win over later ones; two matches inside one group are ambiguous. Names compare without case.
IMAGE_NAMES = (
    ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes"),
    ("images",),
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
_GROUPS = {"image": IMAGE_NAMES, "phrase": PHRASE_NAMES, "id": ID_NAMES}
PHRASE_FIELDS = ("sent", "phrase", "caption", "text")
PATH_FIELDS = ("path", "uri", "url")


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """The columns to read. `phrase_field` is the struct field that holds the text, or None for plain strings.

    Where `phrase` is None, every image is asked `prompts`.

    `image_list` tells that a cell holds a list of images, of which `image_index` is taken, or else the only one.
    `mask` is that of true masks, which the baseline is compared with; None where the input has none.
    """

    image: str
    phrase: str | None
    id: str | None
    image_kind: ImageKind
    phrase_field: str | None = None
    path_field: str | None = None
    mask: str | None = None
    image_list: bool = False
    image_index: int | None = None
    prompts: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        """Names to read from the table, without repeats, in a fixed order."""
        names = (self.id, self.image, self.phrase, self.mask)
        return list(dict.fromkeys(name for name in names if name is not None))

    def without_mask(self) -> "ColumnMapping":
        """The same columns but the true masks."""
        return dataclasses.replace(self, mask=None)

    def describe(self) -> str:
        """One line for people, e.g. ``image=image (struct), phrase=sentences[].sent, id=image_id``."""
        phrase = f"{self.phrase}[].{self.phrase_field}" if self.phrase_field else self.phrase
        phrase = phrase or f"({len(self.prompts)} prompts of the ontology)"
        index = "" if self.image_index is None else str(self.image_index)
        image = f"{self.image}[{index}]" if self.image_list else self.image
        line = f"image={image} ({self.image_kind}), phrase={phrase}, id={self.id or '(made from the position)'}"
        line += f", mask={self.mask}" if self.mask else ""
        # A file chooses its column names, and this line is printed.
        return line if line.isprintable() else ascii(line)


def detect_columns(
    schema: pa.Schema,
    *,
    image_column: str | None = None,
    phrase_column: str | None = None,
    id_column: str | None = None,
    mask_column: str | None = None,
    image_index: int | None = None,
    prompts: tuple[str, ...] = (),
) -> ColumnMapping:
    """Choose the columns by flag, else by name, else by type.

    `phrase_column` may name a struct field (``sentences.sent`` or ``sentences[].sent``). `id_column=""` means that
    ids are made from the row's position. Without a phrase column, or with `phrase_column=""`, every image is asked
    `prompts`, where there are any. True masks are never looked for: `mask_column` names them. Raises ValueError
    that names the candidates and the flag when a column is missing, of an unusable type, or ambiguous.
    """
    image = _image_column(schema, image_column)
    phrase, phrase_field = _phrase_column(schema, phrase_column, image, has_prompts=bool(prompts))
    kind = _image_type(schema.field(image).type)
    has_list = _is_list_of_images(schema.field(image).type)
    if image_index is not None and not has_list:
        raise ValueError(f"--image-index {image_index}: the image column {image} holds one image a row, no list")
    return ColumnMapping(
        image=image,
        phrase=phrase,
        id=_id_column(schema, id_column, image),
        image_kind=_kind_of(kind) or "bytes",
        phrase_field=phrase_field,
        path_field=_path_field(kind),
        mask=_mask_column(schema, mask_column),
        image_list=has_list,
        image_index=image_index,
        prompts=() if phrase else prompts,
    )


def input_columns(schema: pa.Schema, source: InputConfig) -> ColumnMapping:
    """The same for the input of a run, by its settings."""
    return detect_columns(
        schema,
        image_column=source.image_column,
        phrase_column=source.phrase_column,
        id_column=source.id_column,
        mask_column=source.mask_column,
        image_index=source.image_index,
        prompts=source.ontology.prompts if source.ontology else (),
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
                "expected binary, string or struct<bytes, path>, or a list of one of these"
            )
        return wanted
    found = _by_name(usable, IMAGE_NAMES, flag, "image")
    if found:
        return found
    by_type = [name for name in usable if _holds_bytes(schema.field(name).type)]
    return _only(by_type, flag, "image", schema)


def _phrase_column(
    schema: pa.Schema, wanted: str | None, image: str, *, has_prompts: bool
) -> tuple[str | None, str | None]:
    flag = "--phrase-column"
    if wanted == "":
        if has_prompts:
            return None, None
        raise ValueError(f"{flag} '': without a column of phrases, --ontology has to say what is asked")
    if wanted:
        return _wanted_phrase(schema, wanted, flag)
    usable = [field.name for field in schema if field.name != image and _phrase_shape(field.type) is not None]
    found = _by_name(usable, PHRASE_NAMES, flag, "phrase")
    if not found:
        # A lone string column may be anything (a split, a licence); lists of texts are hardly anything else.
        lists = [name for name in usable if not is_text(stored_type(schema.field(name).type))]
        if has_prompts and not lists:
            return None, None
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
            f"expected string, list<string> or list<struct<sent>>{_of_map(schema.field(column).type)}"
        )
    return column, shape or None


def _id_column(schema: pa.Schema, wanted: str | None, image: str) -> str | None:
    flag = "--id-column"
    if wanted == "":
        return None
    if wanted:
        _check_wanted(schema, wanted, flag)
        if wanted == image and _image_kind(schema.field(image).type) != "uri":
            raise ValueError(f"{flag} {wanted}: it holds the images themselves, and is no id")
        if not _is_id(schema.field(wanted).type):
            raise ValueError(f"{flag} {wanted}: type {schema.field(wanted).type} is no id; expected {_IDS}")
        return wanted
    found = _by_name([field.name for field in schema if not pa.types.is_null(field.type)], ID_NAMES, flag, "id")
    if found and not _is_id(schema.field(found).type):
        raise ValueError(
            f"the id column {found} has type {schema.field(found).type}, which is no id; expected {_IDS}; "
            f"name another with {flag}, or give {flag} '' for ids made from the position"
        )
    return found


def _mask_column(schema: pa.Schema, wanted: str | None) -> str | None:
    if not wanted:
        return None
    _check_wanted(schema, wanted, "--mask-column")
    kind = stored_type(schema.field(wanted).type)
    if not (is_text(kind) or is_binary(kind) or is_list(kind) or pa.types.is_struct(kind)):
        raise ValueError(f"--mask-column {wanted}: type {kind} is no mask; expected run lengths, polygons or PNG bytes")
    return wanted


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
    maps = "".join(_of_map(field.type) for field in schema if field.name.lower() in _ALL_NAMES[what])
    raise ValueError(f"no {what} column found; name it with {flag}{maps}. Columns: {columns}")


def _check_wanted(schema: pa.Schema, wanted: str, flag: str) -> None:
    count = schema.names.count(wanted)
    if count != 1:
        trouble = "no such column" if count == 0 else f"{count} columns have this name"
        raise ValueError(f"{flag} {wanted}: {trouble}. Columns: {', '.join(schema.names) or 'none'}")


# ---- types ----


_IDS = "text, a number, a date or time, or bytes such as a UUID"
_ALL_NAMES = {what: {name for group in groups for name in group} for what, groups in _GROUPS.items()}


def _is_id(kind: pa.DataType) -> bool:
    kind = stored_type(kind)
    return is_text(kind) or is_binary(kind) or is_number(kind) or is_moment(kind) or bool(pa.types.is_boolean(kind))


def _of_map(kind: pa.DataType) -> str:
    """A word about maps, which are no lists to this program."""
    if not pa.types.is_map(stored_type(kind)):
        return ""
    return f"; {kind} is a map, whose keys have no order: write its keys or values as a list of strings"


def _image_kind(kind: pa.DataType) -> ImageKind | None:
    return _kind_of(_image_type(kind))


def _image_type(kind: pa.DataType) -> pa.DataType:
    """The type of one image: of the values, where it is a list of images."""
    kind = stored_type(kind)
    return stored_type(kind.value_type) if _is_list_of_images(kind) else kind


def _is_list_of_images(kind: pa.DataType) -> bool:
    kind = stored_type(kind)
    return is_list(kind) and not is_bytes(kind)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether its type alone tells an image column; of lists only those whose images are bytes. Bytes of a fixed
    size are hashes and UUIDs."""
    found, image = _image_kind(kind), _image_type(kind)
    if pa.types.is_fixed_size_binary(image):
        return False
    if not _is_list_of_images(kind):
        return found in ("bytes", "struct")
    return found == "bytes" or (found == "struct" and image.get_field_index("bytes") >= 0)


def _kind_of(kind: pa.DataType) -> ImageKind | None:
    if is_bytes(kind):
        return "bytes"
    if is_text(kind):
        return "uri"
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return "struct" if _path_field(kind) or (place >= 0 and is_bytes(stored_type(kind.field(place).type))) else None
    return None


def _path_field(kind: pa.DataType) -> str | None:
    if not pa.types.is_struct(kind):
        return None
    names = (name for name in PATH_FIELDS if kind.get_field_index(name) >= 0)
    return next((name for name in names if is_text(stored_type(kind.field(name).type))), None)


def _phrase_shape(kind: pa.DataType, field: str | None = None) -> str | None:
    """None: no texts here. "": texts directly or in lists. Otherwise: the struct field that holds them."""
    kind = stored_type(kind)
    if is_list(kind) and not is_bytes(kind):
        kind = stored_type(kind.value_type)
    if pa.types.is_struct(kind):
        for name in (field,) if field else PHRASE_FIELDS:
            if kind.get_field_index(name) >= 0 and _phrase_shape(kind.field(name).type) == "":
                return name
        return None
    return "" if field is None and (is_text(kind) or is_binary(kind)) else None
