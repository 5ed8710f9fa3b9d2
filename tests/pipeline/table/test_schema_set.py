"""Files that leave a type open, because they hold no value of it, take it from the others."""

from __future__ import annotations

import pyarrow as pa
import pytest

from litelvlm.pipeline.table.schema_set import filled, reconcile

NULL, TEXT, DATA = pa.null(), pa.string(), pa.binary()
SENTENCES = pa.list_(pa.struct({"sent": TEXT}))
IMAGE = pa.struct({"bytes": DATA, "path": TEXT})


@pytest.mark.parametrize(
    ("kind", "other", "expected"),
    [
        (NULL, TEXT, TEXT),
        (TEXT, NULL, TEXT),
        (pa.list_(NULL), pa.list_(TEXT), pa.list_(TEXT)),
        (pa.list_(TEXT), pa.list_(NULL), pa.list_(TEXT)),
        (pa.list_(TEXT), pa.list_(pa.int64()), pa.list_(TEXT)),
        (NULL, SENTENCES, SENTENCES),
        (pa.struct({"bytes": NULL, "path": TEXT}), pa.struct({"bytes": DATA}), IMAGE),
        (pa.struct({"bytes": DATA}), pa.struct({"path": TEXT}), IMAGE),
        (pa.large_list(pa.struct({"sent": NULL})), SENTENCES, SENTENCES),
        (pa.int64(), TEXT, pa.int64()),
    ],
)  # fmt: skip
def test_what_one_type_leaves_open_another_says(kind: pa.DataType, other: pa.DataType, expected: pa.DataType) -> None:
    assert filled(kind, other) == expected


def test_schemas_are_filled_from_all_of_the_set_in_any_order() -> None:
    whole = pa.schema({"image": DATA, "phrases": pa.list_(TEXT), "id": pa.int64()})
    empty = pa.schema({"image": NULL, "phrases": NULL, "id": NULL})
    listed = pa.schema({"id": NULL, "image": DATA, "phrases": pa.list_(NULL)})
    found = reconcile([empty, listed, whole, empty])
    assert [schema.field("phrases").type for schema in found] == [pa.list_(TEXT)] * 4
    assert [schema.field("image").type for schema in found] == [DATA] * 4
    assert found[2] == whole
    assert found[1].names == ["id", "image", "phrases"], "every file keeps the order of its columns"


def test_what_no_file_says_stays_open() -> None:
    (only,) = reconcile([pa.schema({"image": DATA, "phrases": pa.list_(NULL)})])
    assert only.field("phrases").type == pa.list_(NULL)
    assert reconcile([]) == []
