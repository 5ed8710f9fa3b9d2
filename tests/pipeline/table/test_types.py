"""Types by what they hold."""

from __future__ import annotations

import pyarrow as pa
import pytest

from litelvlm.pipeline.table.types import is_binary, is_bytes, is_list, is_moment, is_number, is_text, stored_type


def test_types_are_looked_at_below_extensions_and_dictionaries() -> None:
    assert stored_type(pa.uuid()) == pa.binary(16)
    assert stored_type(pa.dictionary(pa.int8(), pa.string())) == pa.string()
    assert stored_type(pa.json_(pa.large_string())) == pa.large_string()
    assert stored_type(pa.int8()) == pa.int8()


@pytest.mark.parametrize(
    ("check", "kinds"),
    [
        (is_text, [pa.string(), pa.large_string(), pa.string_view()]),
        (is_binary, [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)]),
        (is_list, [pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.list_(pa.int8(), 2), pa.list_view(pa.int8())]),
        (is_number, [pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.decimal128(5, 2)]),
        (is_moment, [pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.timestamp("us", tz="UTC")]),
    ],
)
def test_each_type_is_one_thing(check: object, kinds: list[pa.DataType]) -> None:
    checks = (is_text, is_binary, is_list, is_number, is_moment)
    for kind in kinds:
        assert [one for one in checks if one(kind)] == [check]


def test_bytes_in_any_spelling() -> None:
    for kind in (pa.binary(), pa.binary(4), pa.list_(pa.uint8()), pa.large_list(pa.uint8())):
        assert is_bytes(kind)
    for kind in (pa.list_(pa.int8()), pa.list_(pa.binary()), pa.string(), pa.uint8()):
        assert not is_bytes(kind)
