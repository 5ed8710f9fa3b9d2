"""What a similarity run writes for each record, and names of its files."""

from __future__ import annotations

import pyarrow as pa

RECORDS_NAME = "similarity.parquet"
SUMMARY_NAME = "similarity.json"
REPORT_NAME = "similarity.html"

STATUS_NO_TARGET = "no_target"  # the true mask is empty
STATUS_NO_PATCH = "no_patch"  # no patch is inside, or none outside
SCORES = ("product", "cosine")

_OF_EACH_SCORE = [
    pa.field(f"{score}_{name}", pa.float32())
    for score in SCORES
    for name in ("inside", "outside", "auroc")  # mean of the patches inside, and of those outside
]

#: One row per phrase, in the order of the input.
RECORD_SCHEMA = pa.schema(
    [
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image_key", pa.string(), nullable=False),
        pa.field("phrase", pa.string(), nullable=False),
        pa.field("text", pa.string()),  # what CLIP read
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("true_area", pa.int64()),
        pa.field("num_inside", pa.int32()),
        pa.field("num_outside", pa.int32()),
        *_OF_EACH_SCORE,
    ]
)
