"""Schemas of everything a run writes: the only place where column names live."""

from __future__ import annotations

import pyarrow as pa

#: Version of the output's layout. Part of the fingerprint: a change makes old runs un-resumable, knowingly.
FORMAT_VERSION = 1

STATUS_OK = "ok"
STATUS_EMPTY = "empty"
STATUS_FAILED = "failed"
STATUSES = (STATUS_OK, STATUS_EMPTY, STATUS_FAILED)

#: One row per (image, phrase). Holds nothing that differs between an interrupted and an uninterrupted run.
RECORD_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),  # position among the phrases of its input row
        pa.field("phrase", pa.string(), nullable=False),  # as given; cut when it is too long to be one
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("file_name", pa.string(), nullable=False),  # as in the COCO files
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("mask_rle", pa.string()),  # COCO compressed counts, column-major; null unless status is ok
        pa.field("bbox_xywh", pa.list_(pa.float64())),
        pa.field("area", pa.int64()),
        pa.field("score", pa.float32()),
        pa.field("num_visual_tokens", pa.int32()),
        pa.field("num_retained_tokens", pa.int32()),
        pa.field("notes", pa.string()),  # what was done to the image, e.g. "exif rotated"
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),  # row of that file, from 0
    ]
)

#: A shard's data file: the records and what only the merge needs.
SHARD_SCHEMA = RECORD_SCHEMA.append(pa.field("image_key", pa.string(), nullable=False))

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("id_prefix", pa.string(), nullable=False),
        pa.field("row_group", pa.int32(), nullable=False),
        pa.field("row_group_start", pa.int64(), nullable=False),  # first row of the row group, in the file
        pa.field("row_start", pa.int64(), nullable=False),  # rows of the file, half open
        pa.field("row_stop", pa.int64(), nullable=False),
        pa.field("num_rows", pa.int64(), nullable=False),  # rows selected between the two
    ]
)

ERROR_SCHEMA = pa.schema(
    [
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("phrase", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("shard_id", pa.string(), nullable=False),
    ]
)

#: Seconds by stage, in the order a shard passes them. They are columns of the throughput table with suffix `_s`.
STAGES = ("read", "fetch", "decode", "wait", "clip", "prune", "llm", "sam", "decode_masks", "encode", "commit")

THROUGHPUT_SCHEMA = pa.schema(
    [
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("images", pa.int64()),  # images that went through the model
        pa.field("phrases", pa.int64()),  # records, failed ones included
        pa.field("ok", pa.int64()),
        pa.field("empty", pa.int64()),
        pa.field("failed", pa.int64()),
        *[pa.field(f"{stage}_s", pa.float64()) for stage in STAGES],
        pa.field("annotate_s", pa.float64()),  # wall time inside the model, all of its stages
        pa.field("visual_tokens", pa.int64()),
        pa.field("retained_tokens", pa.int64()),
        pa.field("text_tokens", pa.int64()),
        pa.field("bytes_read", pa.int64()),
        pa.field("bytes_written", pa.int64()),
        pa.field("node", pa.string()),
        pa.field("device", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("finished_at", pa.float64()),  # seconds since the epoch
        pa.field("gpu_s", pa.float64()),  # device time held: annotate_s times GPUs per actor
        pa.field("cost", pa.float64()),  # in the currency of --gpu-price; null without it
    ]
)

# Names inside the output directory.
CONFIG_NAME = "config.json"
MANIFEST_NAME = "manifest.parquet"
DONE_DIR = "_done"
SHARDS_DIR = "shards"
ATTEMPTS_DIR = "_attempts"
RECORDS_DIR = "records"
ANNOTATIONS_DIR = "annotations"
THROUGHPUT_NAME = "throughput.parquet"
ERRORS_NAME = "errors.parquet"
RUN_NAME = "run.json"
CVAT_LABELS_NAME = "cvat_labels.json"  # declares the attributes that CVAT would drop otherwise
SUCCESS_NAME = "_SUCCESS"

OWNED_NAMES = (
    CONFIG_NAME,
    MANIFEST_NAME,
    THROUGHPUT_NAME,
    ERRORS_NAME,
    RUN_NAME,
    CVAT_LABELS_NAME,
    SUCCESS_NAME,
    "report.html",
)
OWNED_DIRS = (DONE_DIR, SHARDS_DIR, ATTEMPTS_DIR, RECORDS_DIR, ANNOTATIONS_DIR)


def marker_name(shard_id: str) -> str:
    """Name of the marker that makes a shard count as done."""
    return f"{DONE_DIR}/{shard_id}.json"


def data_name(shard_id: str, attempt_id: str) -> str:
    """Name of a shard's data file; unique for every attempt, so that no two writers share one."""
    return f"{SHARDS_DIR}/{shard_id}.{attempt_id}.parquet"
