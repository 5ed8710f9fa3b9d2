"""What an input is, told by the names of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Kind = Literal[
    "parquet", "delta", "lance", "iceberg", "datasets", "webdataset", "csv", "tsv", "jsonl", "coco", "yolo", "images"
]  # fmt: skip

PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jpe", ".jfif")
_BY_ENDING: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("webdataset", (".tar",)),
    ("csv", (".csv", ".csv.gz")),
    ("tsv", (".tsv", ".tsv.gz")),
    ("jsonl", (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")),
    ("coco", (".json",)),
    ("images", IMAGE_ENDINGS),
)
_DELTA = re.compile(r"(^|/)_delta_log/[^/]+\.json$")
_LANCE = re.compile(r"(^|/)_versions/[^/]+\.manifest$")
ICEBERG = re.compile(r"(^|/)metadata/v?(\d+)[^/]*\.metadata\.json$")
_DATASETS = re.compile(r"(^|/)(dataset_info|state|dataset_dict)\.json$")
_YOLO_LABEL = re.compile(r"(^|/)labels/.*\.txt$")
_YOLO_FILES = re.compile(r"(^|/)(data\.ya?ml|classes\.txt)$")
KINDS: tuple[Kind, ...] = (
    "images", "csv", "tsv", "jsonl", "coco", "yolo", "webdataset", "datasets", "parquet", "delta", "lance", "iceberg",
)  # fmt: skip

#: In words, for messages.
NAMES: dict[Kind, str] = {
    "images": "images",
    "csv": "CSV",
    "tsv": "TSV",
    "jsonl": "JSON lines",
    "coco": "COCO json",
    "yolo": "a YOLO data set",
    "webdataset": "WebDataset tars",
    "datasets": "a Hugging Face data set on disk",
    "parquet": "Parquet",
    "delta": "a Delta table",
    "lance": "a Lance table",
    "iceberg": "an Iceberg table",
}


def kind_of(names: Iterable[str]) -> Kind | None:
    """The kind of an input that has files of these names; None where they say nothing.

    Logs and descriptions that belong to a kind decide before endings do. Among endings those of tables decide before
    those of images, which often lie beside their tables.
    """
    names = list(names)
    if any(map(_DELTA.search, names)):
        return "delta"
    if any(map(_LANCE.search, names)):
        return "lance"
    if any(map(ICEBERG.search, names)):
        return "iceberg"
    if any(name.endswith(".arrow") for name in names) and any(map(_DATASETS.search, names)):
        return "datasets"
    plain = [name for name in names if not name.rpartition("/")[2].startswith((".", "_"))]
    if any(name.lower().endswith(PARQUET_ENDINGS) for name in plain):
        return "parquet"
    if any(map(_YOLO_LABEL.search, plain)) and any(name.lower().endswith(IMAGE_ENDINGS) for name in plain):
        return "yolo"
    for kind, endings in _BY_ENDING:
        if any(name.lower().endswith(endings) for name in plain):
            return kind
    return None


def files_of(kind: Kind, names: Iterable[str]) -> list[str]:
    """Those of the names that hold the rows of a kind."""
    endings = dict(_BY_ENDING) | {"parquet": PARQUET_ENDINGS, "datasets": (".arrow",), "yolo": IMAGE_ENDINGS}
    wanted = endings.get(kind, ())
    plain = (name for name in names if not name.rpartition("/")[2].startswith((".", "_")))
    return [name for name in plain if name.lower().endswith(wanted)]


def is_yolo_description(name: str) -> bool:
    """Whether a file lists the classes of a YOLO data set."""
    return bool(_YOLO_FILES.search(name))
