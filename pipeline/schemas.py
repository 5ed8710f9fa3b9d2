"""Schemas of everything a run writes: the only place where column names live."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

#: Version of everything that a run writes. Part of the fingerprint: a change makes old runs un-resumable, knowingly.
FORMAT_VERSION = 5

STATUS_OK = "ok"
STATUS_EMPTY = "empty"
STATUS_ABSENT = "absent"  # the model, or in accepted labels a reviewer, says that there is no such object
STATUS_FAILED = "failed"
STATUS_DROPPED = "dropped"  # does not stand, see `pipeline.stages.suppress`, or is reviewed already
STATUSES = (STATUS_OK, STATUS_EMPTY, STATUS_ABSENT, STATUS_FAILED, STATUS_DROPPED)
#: Statuses that are not spoken of where no record has them.
ONLY_IF_ANY = (STATUS_ABSENT, STATUS_DROPPED)

#: One row per (image, phrase). Holds nothing that differs between an interrupted and an uninterrupted run.
RECORD_SCHEMA = pa.schema(
    [
        pa.field("record", pa.string(), nullable=False),  # its key: a hash of the input row, and the phrase's position
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),  # position among the phrases of its input row
        pa.field("phrase", pa.string(), nullable=False),  # as given; cut when it is too long to be one
        pa.field("category_id", pa.int32()),  # null where the phrase is of no class
        pa.field("category", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("dropped", pa.string()),  # why an answer does not stand
        pa.field("file_name", pa.string(), nullable=False),  # as in the COCO files
        pa.field("image_uri", pa.string()),  # as the input has it, without what may be secret; null beside mere bytes
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("mask_rle", pa.string()),  # COCO compressed counts, column-major; null unless status is ok or dropped
        pa.field("bbox_xywh", pa.list_(pa.float64())),
        pa.field("area", pa.int64()),
        pa.field("score", pa.float32()),  # of a mask; null where there is none
        pa.field("num_visual_tokens", pa.int32()),
        pa.field("num_retained_tokens", pa.int32()),
        pa.field("notes", pa.string()),  # what was done to the image, e.g. "exif rotated"
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),  # row of that file, from 0
        # Signals for reviewers, see docs/signals.md; null where there is no mask, but for those of images.
        pa.field("overlap", pa.float32()),  # largest IoU with the mask of another phrase of the image
        pa.field("num_equal", pa.int32()),  # other phrases of the image whose mask is nearly the same
        pa.field("components", pa.int32()),
        pa.field("holes", pa.int32()),
        pa.field("area_share", pa.float32()),  # of the image
        pa.field("borders", pa.int32()),  # sides of the image that the mask touches, 0 to 4
        pa.field("image_hash", pa.string()),  # perceptual, 16 hex digits; null where the image was not decoded
        pa.field("agreement", pa.float32()),  # IoU with the unpruned answer, of images compared with it
        pa.field("seg_probability", pa.float32()),  # with `--signals seg`
        pa.field("clip_similarity", pa.float32()),  # with `--signals clip`
        pa.field("absent_probability", pa.float32()),  # of models that may reject a phrase, with or without a mask
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

#: A row for each image of the COCO files, in their order.
NAMES_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image_uri", pa.string()),
        pa.field("source_file", pa.string(), nullable=False),  # the first row that the image is in
        pa.field("source_row", pa.int64(), nullable=False),
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

#: `compare.parquet`: a row for each record that two runs have, in the order of the first one's input.
COMPARISON_SCHEMA = pa.schema(
    [
        pa.field("record", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),
        pa.field("phrase", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("status_a", pa.string(), nullable=False),
        pa.field("status_b", pa.string(), nullable=False),
        pa.field("left_out", pa.string()),  # why the two are not compared, see `pipeline.compare.answers`; null else
        pa.field("iou", pa.float64()),  # of the masks; 1 where neither has one, 0 where one has; null where left out
        pa.field("box_iou", pa.float64()),  # of the boxes; null unless both have a mask
        pa.field("agrees", pa.bool_()),  # iou is no less than asked for; null where left out
        pa.field("area_a", pa.int64()),  # null without a mask
        pa.field("area_b", pa.int64()),
        pa.field("score_a", pa.float32()),
        pa.field("score_b", pa.float32()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("source_file", pa.string(), nullable=False),  # of the first run's input, as is the row
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
COMPARISON_NAME = "compare.parquet"

#: The parts of a CPU task.
TASK_STAGES = ("read", "fetch", "decode")

#: The parts of the model's work on its device, as its stage clock names them. Seconds held beyond these are `other_s`.
MODEL_STAGES = ("clip", "prune", "llm", "sam", "decode_masks", "masks")

#: What the seconds of an actor's device go to. Every second from the actor's construction to its last release is in
#: exactly one of these columns of exactly one row, so that `held_s`, their sum, adds up to the actor's wall time.
HELD_KINDS = ("startup", "idle", "host", "annotate", "baseline")

#: Seconds by stage, in the order a shard passes them. They are columns of the throughput table with suffix `_s`.
STAGES = (*TASK_STAGES, "wait", *MODEL_STAGES, "encode", "commit")

BASELINE_COLUMNS = (
    "baseline_pruned_s",
    "baseline_unpruned_s",
    "baseline_pruned_llm_s",
    "baseline_unpruned_llm_s",
)

THROUGHPUT_SCHEMA = pa.schema(
    [
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("images", pa.int64()),  # images that went through the model
        pa.field("prompts", pa.int64()),  # conversations that the model was asked
        pa.field("phrases", pa.int64()),  # records, failed ones included
        pa.field("ok", pa.int64()),
        pa.field("empty", pa.int64()),
        pa.field("absent", pa.int64()),
        pa.field("failed", pa.int64()),
        pa.field("dropped", pa.int64()),
        pa.field("megapixels", pa.float64()),  # 1e6 pixels of all decoded images
        # A CPU task: wall seconds of its parts, then the CPU seconds of its process, which has several threads.
        pa.field("read_s", pa.float64()),
        pa.field("fetch_s", pa.float64()),
        pa.field("decode_s", pa.float64()),
        pa.field("decode_cpu_s", pa.float64()),
        pa.field("wait_s", pa.float64()),  # decoded, waiting for an actor
        # The time line of the actor's device, see `pipeline.stages.device_clock`.
        pa.field("startup_s", pa.float64()),  # loading the model; in the row of the first shard that the actor served
        pa.field("idle_s", pa.float64()),  # device free, no shard in the actor
        pa.field("host_s", pa.float64()),  # device free while the host worked on a shard
        pa.field("annotate_s", pa.float64()),  # device held: the model's stages and other_s
        *[pa.field(f"{stage}_s", pa.float64()) for stage in MODEL_STAGES],
        pa.field("other_s", pa.float64()),
        pa.field("baseline_s", pa.float64()),  # device held for the comparison with the unpruned model
        pa.field("held_s", pa.float64()),  # startup + idle + host + annotate + baseline
        pa.field("actor_from", pa.float64()),  # seconds since the epoch, between which held_s lies
        pa.field("actor_to", pa.float64()),
        pa.field("encode_s", pa.float64()),  # host: run lengths, overlaps
        pa.field("commit_s", pa.float64()),
        pa.field("visual_tokens", pa.int64()),  # over prompts: before pruning, kept, and text
        pa.field("retained_tokens", pa.int64()),
        pa.field("text_tokens", pa.int64()),
        pa.field("tflop", pa.float64()),  # needed floating-point operations, 1e12; modelled by `litelvlm.flops`
        pa.field("unpruned_tflop", pa.float64()),  # the same, had no token been pruned
        pa.field("mfu", pa.float64()),  # tflop / annotate_s / the device's peak; null where that is unknown
        pa.field("bytes_read", pa.int64()),
        pa.field("bytes_written", pa.int64()),
        pa.field("attempts", pa.int64()),  # how often annotating the shard was begun, in this execution
        pa.field("node", pa.string()),
        pa.field("device", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("finished_at", pa.float64()),  # seconds since the epoch
        pa.field("gpu_s", pa.float64()),  # held_s times GPUs per actor
        pa.field("cost", pa.float64()),  # in the currency of --gpu-price; null without it
        # The measured comparison with the unpruned model; null where the shard has none.
        pa.field("baseline_images", pa.int64()),
        pa.field("baseline_phrases", pa.int64()),
        *[pa.field(name, pa.float64()) for name in BASELINE_COLUMNS],
        pa.field("baseline_mean_iou", pa.float64()),
    ]
)

#: Columns of the throughput table whose sums are totals of the run.
THROUGHPUT_SUMS = tuple(
    field.name
    for field in THROUGHPUT_SCHEMA
    if field.type in (pa.int64(), pa.float64())
    and field.name not in ("index", "actor_from", "actor_to", "finished_at", "mfu", "baseline_mean_iou")
)

# Names inside the output directory.
CONFIG_NAME = "config.json"
MANIFEST_NAME = "manifest.parquet"
DONE_DIR = "_done"
SHARDS_DIR = "shards"
ATTEMPTS_DIR = "_attempts"
LOG_DIR = "_log"  # extracts of the markers
RECORDS_DIR = "records"
ANNOTATIONS_DIR = "annotations"
THROUGHPUT_NAME = "throughput.parquet"
ERRORS_NAME = "errors.parquet"
NAMES_NAME = "names.parquet"
RUN_NAME = "run.json"
UPRIGHT_DIR = "upright"  # copies of the images, with `--write-images`
UPRIGHT_NAME = "upright.json"  # how many are there
CVAT_LABELS_NAME = "cvat_labels.json"  # declares the attributes that CVAT would drop otherwise
CARD_NAME = "README.md"  # for `datasets`; not among what is owned, since a user may have one
SUCCESS_NAME = "_SUCCESS"

OWNED_NAMES = (
    CONFIG_NAME,
    MANIFEST_NAME,
    THROUGHPUT_NAME,
    ERRORS_NAME,
    NAMES_NAME,
    RUN_NAME,
    UPRIGHT_NAME,
    CVAT_LABELS_NAME,
    SUCCESS_NAME,
    "report.html",
)
OWNED_DIRS = (DONE_DIR, LOG_DIR, SHARDS_DIR, ATTEMPTS_DIR, RECORDS_DIR, ANNOTATIONS_DIR, UPRIGHT_DIR)


def status_words(counts: Mapping[str, int]) -> str:
    """How many records have which status, in words; absent and dropped ones where there are any."""
    return ", ".join(f"{counts[one]} {one}" for one in STATUSES if one not in ONLY_IF_ANY or counts[one])


def marker_name(shard_id: str) -> str:
    """Name of the marker that makes a shard count as done."""
    return f"{DONE_DIR}/{shard_id}.json"


def data_name(shard_id: str, attempt_id: str) -> str:
    """Name of a shard's data file; unique for every attempt, so that no two writers share one."""
    return f"{SHARDS_DIR}/{shard_id}.{attempt_id}.parquet"
