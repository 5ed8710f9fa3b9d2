"""`--where`: a condition in SQL over the columns of `records/`, evaluated by DuckDB, which may reach nothing else."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from litelvlm.pipeline.schemas import RECORD_SCHEMA

#: Columns that a condition may name.
COLUMNS = tuple(name for name in RECORD_SCHEMA.names if name not in ("mask_rle", "bbox_xywh"))
_ROW = "_row"
_MEMORY = "512MB"


class Where:
    """A condition such as `score < 0.6 and category = 'car'`; None holds for every record.

    `columns` are those that it names. Comparisons with null do not hold, as in SQL.

    Raises:
        ValueError: it is no condition over these columns, or DuckDB is not installed.
    """

    def __init__(self, condition: str | None) -> None:
        self.condition = condition
        self.columns: tuple[str, ...] = ()
        if condition is None:
            return
        self.columns = tuple(name for name in COLUMNS if re.search(rf"\b{name}\b", condition, re.IGNORECASE))
        self._connection = _connect()
        self.holds(RECORD_SCHEMA.empty_table().select(list(self.columns)))

    def holds(self, table: pa.Table) -> NDArray[np.bool_]:
        """For each row of a table with at least `columns`, whether the condition holds."""
        if self.condition is None:
            return np.ones(table.num_rows, dtype=bool)
        import duckdb

        rows = table.select(list(self.columns)).append_column(_ROW, pa.array(np.arange(table.num_rows)))
        try:
            relation = self._connection.from_arrow(rows).filter(self.condition)
            found = relation.project(_ROW).to_arrow_table().column(_ROW).to_numpy()
        except duckdb.Error as error:
            raise ValueError(self._refusal(error)) from error
        inside = np.zeros(table.num_rows, dtype=bool)
        inside[found] = True
        return inside

    def _refusal(self, error: Exception) -> str:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"--where: {reason.rstrip('.!')}; a condition in SQL over {', '.join(COLUMNS)}"


def _connect() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise ValueError("--where needs DuckDB: pip install 'litelvlm-annotate[review]'") from error
    settings: dict[str, Any] = {
        "enable_external_access": "false",
        "python_enable_replacements": "false",
        "memory_limit": _MEMORY,
    }
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET lock_configuration = true")
    return connection
