"""One text for an id, whatever type it came in."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from litelvlm.pipeline.table.id_text import id_text

UTC = datetime.UTC
DAY = datetime.datetime(2026, 11, 27, 7, 5, 9)
UUID = uuid.UUID("00000000-0004-0000-0000-000000001eef")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1001, pa.int32(), "1001"),
        (2**64 - 1, pa.uint64(), "18446744073709551615"),
        (-5, pa.int64(), "-5"),
        (1001.0, pa.float64(), "1001"),
        (0.1, pa.float64(), "0.1"),
        (2.0**60, pa.float64(), "1152921504606846976"),
        (float("nan"), pa.float64(), None),
        (float("inf"), pa.float64(), "inf"),
        (0.5, pa.float32(), "0.5"),
        (Decimal(1001), pa.decimal128(38, 0), "1001"),
        (Decimal("1001.00"), pa.decimal128(10, 2), "1001"),
        (Decimal("10.50"), pa.decimal128(10, 2), "10.5"),
        (Decimal("100"), pa.decimal256(50, 0), "100"),
        (True, pa.bool_(), "true"),
        (UUID.bytes, pa.uuid(), str(UUID)),
        (UUID.bytes, pa.binary(16), str(UUID)),
        (b"\x00\xff\x10", pa.binary(), "00ff10"),
        (b"img-7", pa.binary(), "img-7"),
        (b"tab\t", pa.binary(), "74616209"),
        (b"abcd", pa.binary(4), "abcd"),
        (DAY.date(), pa.date32(), "2026-11-27"),
        (DAY.date(), pa.date64(), "2026-11-27"),
        (DAY, pa.timestamp("us"), "2026-11-27T07:05:09"),
        (DAY.replace(microsecond=120_000), pa.timestamp("ns"), "2026-11-27T07:05:09.12"),
        (DAY.replace(tzinfo=UTC), pa.timestamp("s", tz="UTC"), "2026-11-27T07:05:09Z"),
        (DAY.replace(tzinfo=UTC), pa.timestamp("ms", tz="Europe/Berlin"), "2026-11-27T07:05:09Z"),
        (datetime.time(7, 5, 9, 500_000), pa.time64("us"), "07:05:09.5"),
    ],
)
def test_every_scalar_type_has_one_text(value: Any, kind: pa.DataType, expected: str | None) -> None:
    scalar = pa.array([value.bytes if isinstance(value, uuid.UUID) else value], kind)[0]
    assert id_text(scalar.value if isinstance(scalar, pa.ExtensionScalar) else scalar) == expected


def test_the_same_id_is_the_same_text_in_every_numeric_type() -> None:
    kinds = [pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(38, 3)]
    texts = {id_text(pa.scalar(7).cast(kind)) for kind in kinds}
    assert texts == {"7"}
