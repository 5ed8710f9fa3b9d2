"""How many rows a shard gets where nobody says: as many as make a fair piece of work.

A shard is what is lost with a worker, what a worker holds in memory, and what costs a data file and a marker. Rows of
one phrase and a small photo are light; a row that asks for eighty classes, or brings 20 MB of pixels, is not.
"""

from __future__ import annotations

from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.footers import ColumnSize, InputFile

MOST_ROWS = 64
MOST_PHRASES = 512
MOST_BYTES = 64 << 20  # of embedded images


def shard_rows(file: InputFile, mapping: ColumnMapping) -> int:
    """Rows a shard of a file, by the means that its footer tells: the same for the same file."""
    measured = file.measured
    if measured is None or measured.num_rows <= 0:
        return MOST_ROWS
    image = measured.columns.get(mapping.image, ColumnSize(0, 0))
    phrases = measured.columns.get(mapping.phrase, ColumnSize(0, 0)) if mapping.phrase else ColumnSize(0, 0)
    num_phrases = phrases.num_values / measured.num_rows if mapping.phrase else len(mapping.prompts)
    num_bytes = 0.0 if mapping.image_kind == "uri" else image.num_bytes / measured.num_rows
    return max(1, int(min(MOST_ROWS, MOST_PHRASES / max(num_phrases, 1.0), MOST_BYTES / max(num_bytes, 1.0))))
