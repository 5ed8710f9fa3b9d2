"""The one text form of an id, whatever type a warehouse or a data frame gave it."""

from __future__ import annotations

import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa

_UUID_BYTES = 16


def id_text(scalar: pa.Scalar) -> str | None:
    """An id as text; None for what stands for no value.

    Whole numbers are plain digits, those that became floating point or decimals on their way too: `1001.0` and
    `1001.00` are `1001`. Other numbers are as short as they can be without losing a digit. Sixteen bytes of a fixed
    size are a UUID; other bytes are text where they are UTF-8, else hexadecimal. Dates and times are as ISO 8601 has
    them, with `Z` where they have a time zone, and without zeros at the end of a second.
    """
    kind = scalar.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return str(scalar.as_py()).lower()
    if pa.types.is_floating(kind):
        return _float_text(float(scalar.as_py()))
    if pa.types.is_decimal(kind):
        return _decimal_text(scalar.as_py())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _moment_text(scalar)
    if pa.types.is_time(kind):
        return _without_zeros(str(scalar.cast(pa.string())))
    return _bytes_text(scalar.as_py(), is_fixed=pa.types.is_fixed_size_binary(kind))


def _float_text(value: float) -> str | None:
    if value != value:  # not a number: how pandas writes that there is none
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def _decimal_text(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _moment_text(scalar: pa.Scalar) -> str:
    kind = scalar.type
    if pa.types.is_date32(kind):
        return str(np.array(scalar.value).astype("datetime64[D]"))
    unit = "ms" if pa.types.is_date64(kind) else kind.unit
    text = _without_zeros(str(np.array(scalar.value).astype(f"datetime64[{unit}]")))
    if pa.types.is_date64(kind):
        return text.split("T")[0]
    return f"{text}Z" if kind.tz else text


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bytes_text(data: bytes, *, is_fixed: bool) -> str:
    if is_fixed and len(data) == _UUID_BYTES:
        return str(uuid.UUID(bytes=data))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data.hex()
    return text if text.isprintable() else data.hex()
