"""Schemas of the files of one input, seen together: what one file leaves open, because it holds no value, another says.

pandas, Arrow and Spark write a column without a single value as type `null`, a list that is always empty as
`list<null>`. By itself such a file would have no phrases, or no image.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from litelvlm.pipeline.table.types import is_list, stored_type


def reconcile(schemas: Iterable[pa.Schema]) -> list[pa.Schema]:
    """The schemas, in each of which every open type is the one that the others have under that name."""
    schemas = list(schemas)
    known: dict[str, pa.DataType] = {}
    for schema in dict.fromkeys(schemas):
        for field in schema:
            known[field.name] = filled(known.get(field.name, pa.null()), field.type)
    done: dict[pa.Schema, pa.Schema] = {}
    for schema in schemas:
        if schema not in done:
            fields = [field.with_type(filled(field.type, known[field.name])) for field in schema]
            done[schema] = pa.schema(fields)
    return [done[schema] for schema in schemas]


def filled(kind: pa.DataType, other: pa.DataType) -> pa.DataType:
    """A type with what it leaves open as in another; where both say something, it stays as it is."""
    if pa.types.is_null(kind):
        return other
    stored, other = stored_type(kind), stored_type(other)
    if is_list(stored) and is_list(other):
        value = filled(stored.value_type, other.value_type)
        return kind if value == stored.value_type else pa.list_(value)
    if pa.types.is_struct(stored) and pa.types.is_struct(other):
        fields = [_filled_field(stored.field(index), other) for index in range(stored.num_fields)]
        of_other = map(other.field, range(other.num_fields))
        missing = [field for field in of_other if stored.get_field_index(field.name) < 0]
        return pa.struct([*fields, *missing])
    return kind


def _filled_field(field: pa.Field, other: pa.StructType) -> pa.Field:
    index = other.get_field_index(field.name)
    return field if index < 0 else field.with_type(filled(field.type, other.field(index).type))
