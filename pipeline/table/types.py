"""Arrow's types by what they hold, however they spell it."""

from __future__ import annotations

import pyarrow as pa


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type below extensions and dictionaries."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def is_text(kind: pa.DataType) -> bool:
    """Strings of any width."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Bytes of any width, one value a cell."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Bytes in any spelling, a list of numbers from 0 to 255 too."""
    return is_binary(kind) or (is_list(kind) and pa.types.is_uint8(stored_type(kind.value_type)))


def is_list(kind: pa.DataType) -> bool:
    """Lists of any width, views and those of a fixed size."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    """Whole numbers, decimals and floating point."""
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind))


def is_moment(kind: pa.DataType) -> bool:
    """Dates, times of day, points in time."""
    return bool(pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind))
