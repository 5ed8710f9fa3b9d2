"""Referring segmentation data to one Parquet file with true masks, which `jobs/evaluate.py` and `annotate.py` read.

python jobs/ground_truth.py refer --root data --dataset refcoco --split val --output s3://bucket/refcoco-val.parquet
python jobs/ground_truth.py table --input RefCOCO/data/testA-*.parquet --output refcoco-testA.parquet
python jobs/ground_truth.py coco --input ACCEPTED/annotations/*.json --embed-images images --output accepted.parquet
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.evaluation.datasets.coco import read_coco
from litelvlm.evaluation.datasets.embed import ImageEmbedder
from litelvlm.evaluation.datasets.hub_tables import read_hub_tables
from litelvlm.evaluation.datasets.joining import ScatteredRows
from litelvlm.evaluation.datasets.refer import DATASETS, read_refer
from litelvlm.evaluation.datasets.truth import TrueImage, write_truth
from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.config import StorageOptions
from litelvlm.pipeline.errors import MISTAKES
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.settings import Flag, Settings
from litelvlm.pipeline.storage.filesystems import is_local
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.footers import list_files

_Column = Annotated[str | None, Flag("with --mask-column", unset="found by name")]


@dataclass(frozen=True, kw_only=True)
class _Target(Settings):
    output: Annotated[str, Flag("a .parquet file; local or s3:// and the like", metavar="PATH")]
    embed_images: Annotated[
        str | None, Flag("put images named by path into the file, from below this directory", metavar="ROOT")
    ] = None
    storage_options: StorageOptions = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReferSettings(_Target):
    """Which of the original files are read."""

    root: Annotated[str, Flag("holds refcoco/refs(unc).p and so on", metavar="DIR")]
    dataset: Annotated[str, Flag("one of", choices=tuple(sorted(DATASETS)))]
    split: Annotated[str, Flag("val, testA, …")]


@dataclass(frozen=True, kw_only=True)
class TableSettings(_Target):
    """Which Parquet is read, and how."""

    input: Annotated[tuple[str, ...], Flag("Parquet files, directories or globs", metavar="PATH", repeat=True)]
    split: Annotated[str | None, Flag("keep rows of this split, where there is a column for it", unset="all")] = None
    mask_column: Annotated[str | None, Flag("COCO run lengths, polygons or PNG", unset="none: the layout is known")] = (
        None
    )
    image_column: _Column = None
    phrase_column: _Column = None
    id_column: _Column = None


@dataclass(frozen=True, kw_only=True)
class CocoSettings(_Target):
    """Which COCO files are read."""

    input: Annotated[tuple[str, ...], Flag("COCO files of instances", metavar="PATH", repeat=True)]


Source = ReferSettings | TableSettings | CocoSettings

_SOURCES: dict[str, tuple[type[Source], str]] = {
    "refer": (ReferSettings, "RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO as refer distributes them"),
    "table": (TableSettings, "Parquet of lmms-lab, jxu124, moondream, or with a column of masks"),
    "coco": (CocoSettings, "COCO instances, such as labels after review: a phrase an expression"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 storage failed, 2 bad usage or input, told in one line."""
    return run_job(lambda secrets: _convert(argv, secrets), mistakes=MISTAKES)


def _convert(argv: list[str] | None, secrets: Secrets) -> int:
    flags = vars(build_parser().parse_args(argv))
    kind, _ = _SOURCES[flags.pop("source")]
    asked = configure(kind, flags)
    secrets.of(asked.storage_options)
    directory, _, name = asked.output.rpartition("/")
    if not name.endswith(".parquet"):
        raise ValueError(f"--output {asked.output}: must name a .parquet file")
    storage = Storage(directory or ".", asked.storage_options)
    try:
        _write(asked, storage, name, scattered=False)
    except ScatteredRows as error:
        print(f"{error}; reading everything twice to bring an image's rows together", file=sys.stderr)
        _write(asked, storage, name, scattered=True)
    return EXIT_DONE


def _write(asked: Source, storage: Storage, name: str, *, scattered: bool) -> None:
    images: Iterable[TrueImage] = _images(asked, scattered=scattered)
    embedder = ImageEmbedder(asked.embed_images, asked.storage_options) if asked.embed_images else None
    if embedder is not None:
        images = embedder.embed(images)
    totals = write_truth(_shown(images), storage, name, split=getattr(asked, "split", None))
    print(f"{asked.output}: {totals.describe()}")
    if embedder is not None and embedder.turned:
        print(f"{embedder.turned} images carry an EXIF rotation and were read upright")


def build_parser() -> JobParser:
    """A subcommand for each kind of source."""
    parser = JobParser(prog="ground_truth", description=__doc__)
    sources = parser.add_subparsers(dest="source", required=True)
    for name, (kind, help_text) in _SOURCES.items():
        sources.add_parser(name, help=help_text, description=help_text).add_settings(kind)
    return parser


def _shown(images: Iterable[TrueImage]) -> Iterator[TrueImage]:
    bar, expressions = RowBar(None), 0
    try:
        for image in images:
            yield image
            expressions += len(image.expressions)
            bar.advance(1, f"{expressions} expressions")
    finally:
        bar.close()


def _images(asked: Source, *, scattered: bool) -> Iterator[TrueImage]:
    if isinstance(asked, ReferSettings):
        if not is_local(asked.root):
            raise ValueError(f"--root {asked.root}: the original files must lie on this machine; copy them here first")
        return read_refer(_bare(asked.root), asked.dataset, asked.split)
    if isinstance(asked, CocoSettings):
        return read_coco(asked.input, asked.storage_options)
    paths = list_files(asked.input, asked.storage_options, output=asked.output)
    for path in paths:
        if _is_same_file(path, asked.output):
            raise ValueError(f"--output {asked.output}: is one of the files of --input, choose another name")
    return read_hub_tables(
        paths,
        asked.storage_options,
        split=asked.split,
        mask_column=asked.mask_column,
        image_column=asked.image_column,
        phrase_column=asked.phrase_column,
        id_column=asked.id_column,
        scattered=scattered,
    )


def _is_same_file(first: str, second: str) -> bool:
    if is_local(first) and is_local(second):
        return os.path.realpath(_bare(first)) == os.path.realpath(_bare(second))
    return first == second


def _bare(path: str) -> str:
    return path.removeprefix("file://")


if __name__ == "__main__":
    sys.exit(main())
