"""Referring segmentation as Parquet on the Hugging Face hub, and any other Parquet with a column of masks.

Three published layouts are known by their columns (as their dataset cards declare them):

* `lmms-lab/RefCOCO`, `-RefCOCOplus`, `-RefCOCOg`: one row per object. `answer` is the list of its expressions,
  `segmentation` one flat list of numbers x, y, x, y, …, `bbox` x, y, width, height, `image` embedded. Neither the card
  nor the column tells whether an object of several polygons keeps all of them, so a row whose polygon does not span
  its `bbox` is taken for one whose truth is not known. The split `val` has 8,811 rows: UNC's 3,811 references and 5,000
  more, as many as Google's val has; only `testA` and `testB` have the size of the published splits.
* `jxu124/refcoco`, `-refcocoplus`, `-refcocog`: one row per reference. `sentences` are structs, `raw_anns` and
  `raw_image_info` are COCO's annotation and image as JSON texts, `image_path` names a file that is not part of it. The
  split called `test` of refcoco is UNC's testA.
* `moondream/refcoco-m`: one row per image. `samples` are objects with `sentences` and `mask`, run lengths of
  `{size, counts}`; a cleaned part of RefCOCO val with masks of its own, so its numbers compare with no published table.

Everything else is read by column names, see `any_reader`. Rows of one image are joined, see `joined`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.evaluation.datasets.fields import shown, within
from litelvlm.evaluation.datasets.hub_rows import (
    OPTIONAL_COLUMNS,
    Row,
    RowReader,
    any_reader,
    read_jxu,
    read_lmms,
    read_moondream,
)
from litelvlm.evaluation.datasets.joining import gathered, joined
from litelvlm.evaluation.datasets.truth import TrueImage
from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.columns import detect_columns
from litelvlm.pipeline.table.footers import footer_of, parquet_metadata

_BATCH_ROWS = 8
_MAX_NAMED_SPLITS = 20

LMMS_COLUMNS = frozenset(("question_id", "image", "answer", "segmentation", "bbox", "file_name"))
JXU_COLUMNS = frozenset(("sentences", "raw_anns", "raw_image_info", "image_path", "ref_id", "split"))
MOONDREAM_COLUMNS = frozenset(("image", "image_id", "file_name", "samples"))
_LAYOUTS: dict[str, tuple[RowReader, frozenset[str]]] = {
    "lmms-lab": (read_lmms, LMMS_COLUMNS),
    "jxu124": (read_jxu, JXU_COLUMNS | {"image_id"}),
    "moondream": (read_moondream, MOONDREAM_COLUMNS),
}


def read_hub_tables(
    paths: list[str],
    options: dict[str, Any],
    *,
    split: str | None = None,
    mask_column: str | None = None,
    image_column: str | None = None,
    phrase_column: str | None = None,
    id_column: str | None = None,
    scattered: bool = False,
) -> Iterator[TrueImage]:
    """Images of Parquet files in one of the known layouts, or of any layout with `mask_column`. A few rows in memory.

    `split` keeps the rows of that split where the layout has a column for it. `scattered` brings rows of one image
    together wherever they stand: everything is read twice, and the expressions of all images lie in memory.

    Raises ValueError for a file that is not Parquet or of a layout that is not known, for the first row that cannot be
    read, naming file, row and field, and where no row is of the split; ScatteredRows, unless `scattered`, for an image
    whose rows are not neighbours.
    """
    columns: dict[str, Any] = {"image_column": image_column, "phrase_column": phrase_column, "id_column": id_column}
    wanted = _Split(split)

    def read() -> Iterator[tuple[str, TrueImage]]:
        return _placed(paths, options, wanted, mask_column, columns)

    yield from gathered(read) if scattered else joined(read())
    wanted.check()


def layout_of(schema: pa.Schema) -> str | None:
    """Which published layout a schema is: `lmms-lab`, `jxu124`, `moondream`, or None."""
    names = set(schema.names)
    known = (("lmms-lab", LMMS_COLUMNS), ("jxu124", JXU_COLUMNS), ("moondream", MOONDREAM_COLUMNS))
    return next((layout for layout, columns in known if columns <= names), None)


class _Split:
    """The split whose rows are wanted, None for all, and what was seen instead."""

    def __init__(self, wanted: str | None) -> None:
        self._wanted, self._found = wanted, False
        self._others: set[str] = set()

    def takes(self, row: Row) -> bool:
        """Whether a row is of the split, or does not say of which it is."""
        name = row.get("split")
        taken = self._wanted is None or not isinstance(name, str) or name == self._wanted
        self._found |= taken
        if not taken and len(self._others) < _MAX_NAMED_SPLITS:
            self._others.add(str(name)[:80])
        return taken

    def check(self) -> None:
        """Raise ValueError where there were rows, and all of them of other splits."""
        if self._others and not self._found:
            there = ", ".join(shown(name) for name in sorted(self._others))
            raise ValueError(f"--split {self._wanted}: no row of this split; there are {there}")


def _placed(
    paths: list[str], options: dict[str, Any], split: _Split, mask_column: str | None, columns: dict[str, Any]
) -> Iterator[tuple[str, TrueImage]]:
    """Images of all rows, with the file and row where they stand."""
    before = 0
    for path in paths:
        with RangeFile(path, options) as file:
            parquet = _open(file)
            read, used = _reader(parquet.schema_arrow, path, mask_column, columns)
            for number, row in _rows(parquet, path, used):
                place = f"{path}: row {number}"
                with within(place):
                    image = read(row, before + number) if split.takes(row) else None
                if image is not None:
                    yield place, image
            before += parquet.metadata.num_rows


def _reader(
    schema: pa.Schema, path: str, mask_column: str | None, columns: dict[str, Any]
) -> tuple[RowReader, frozenset[str]]:
    """What reads the rows, and the columns that it looks at."""
    if mask_column is not None:
        if mask_column not in schema.names:
            raise ValueError(
                f"{path}: --mask-column {mask_column}: no such column; there are {', '.join(schema.names)}"
            )
        with within(path):
            mapping = detect_columns(schema, **columns)
        return any_reader(mapping, mask_column), frozenset((*mapping.columns(), mask_column, *OPTIONAL_COLUMNS))
    layout = layout_of(schema)
    if layout is None:
        raise ValueError(
            f"{path}: none of the known layouts; name the column of true masks with --mask-column. "
            f"Columns: {', '.join(schema.names)}"
        )
    return _LAYOUTS[layout]


def _open(file: RangeFile) -> pq.ParquetFile:
    """The file by what Parquet itself says of it: Arrow's own schema may name classes that others registered."""
    try:
        metadata = parquet_metadata(footer_of(cast(BinaryIO, file)))
        return pq.ParquetFile(file, metadata=metadata, pre_buffer=False)
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{file.path}: not readable Parquet: {_first_line(error)}") from error


def _rows(parquet: pq.ParquetFile, path: str, used: frozenset[str]) -> Iterator[tuple[int, Row]]:
    """Rows and their numbers in the file; of the columns those that are used, or say the split."""
    number = 0
    names = [name for name in parquet.schema_arrow.names if name in used or name == "split"]
    try:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=names):
            columns = list(zip(batch.schema.names, batch.columns, strict=True))
            for index in range(batch.num_rows):
                yield number, {name: _cell(column, index, f"{path}: row {number}: {name}") for name, column in columns}
                number += 1
    except StorageError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: row {number} or one after it: corrupt Parquet data: {_first_line(error)}") from error


def _cell(column: pa.Array, index: int, place: str) -> Any:
    try:
        return column[index].as_py()
    except UnicodeDecodeError:
        raise ValueError(f"{place}: not valid UTF-8") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{place}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
