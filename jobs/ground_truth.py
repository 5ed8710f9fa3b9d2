"""Referring segmentation data to one Parquet file with true masks, which `jobs/evaluate.py` and `annotate.py` read.

python jobs/ground_truth.py refer --root data --dataset refcoco --split val --output s3://bucket/refcoco-val.parquet
python jobs/ground_truth.py table --input RefCOCO/data/testA-*.parquet --output refcoco-testA.parquet
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.evaluation.datasets.embed import ImageEmbedder
from litelvlm.evaluation.datasets.hub_tables import read_hub_tables
from litelvlm.evaluation.datasets.joining import ScatteredRows
from litelvlm.evaluation.datasets.refer import DATASETS, read_refer
from litelvlm.evaluation.datasets.truth import TrueImage, write_truth
from litelvlm.pipeline.command import JobParser, Secrets, run_job
from litelvlm.pipeline.errors import MISTAKES
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.storage.filesystems import is_local
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.footers import list_files


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 storage failed, 2 bad usage or input, told in one line."""
    return run_job(lambda secrets: _convert(argv, secrets), mistakes=MISTAKES)


def _convert(argv: list[str] | None, secrets: Secrets) -> int:
    flags = build_parser().parse_args(argv)
    options = secrets.of_flags(flags.storage_options)
    directory, _, name = flags.output.rpartition("/")
    if not name.endswith(".parquet"):
        raise ValueError(f"--output {flags.output}: must name a .parquet file")
    storage = Storage(directory or ".", options)
    try:
        _write(flags, options, storage, name, scattered=False)
    except ScatteredRows as error:
        print(f"{error}; reading everything twice to bring an image's rows together", file=sys.stderr)
        _write(flags, options, storage, name, scattered=True)
    return EXIT_DONE


def _write(flags: argparse.Namespace, options: dict[str, Any], storage: Storage, name: str, *, scattered: bool) -> None:
    images: Iterable[TrueImage] = _images(flags, options, scattered=scattered)
    embedder = ImageEmbedder(flags.embed_images, options) if flags.embed_images else None
    if embedder is not None:
        images = embedder.embed(images)
    totals = write_truth(_shown(images), storage, name, split=flags.split)
    print(f"{flags.output}: {totals.describe()}")
    if embedder is not None and embedder.turned:
        print(f"{embedder.turned} images carry an EXIF rotation and were read upright")


def build_parser() -> argparse.ArgumentParser:
    """A subcommand for each kind of source."""
    parser = JobParser(prog="ground_truth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sources = parser.add_subparsers(dest="source", required=True)
    refer = sources.add_parser("refer", help="RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO as refer distributes them")
    refer.add_argument("--root", required=True, metavar="DIR", help="holds refcoco/refs(unc).p and so on")
    refer.add_argument("--dataset", required=True, choices=sorted(DATASETS))
    refer.add_argument("--split", required=True, help="val, testA, …")
    table = sources.add_parser("table", help="Parquet of lmms-lab, jxu124, moondream, or with a column of masks")
    table.add_argument("--input", nargs="+", required=True, metavar="PATH", help="Parquet files, directories or globs")
    table.add_argument("--split", help="keep rows of this split, where there is a column for it")
    table.add_argument("--mask-column", help="for layouts that are not known: COCO run lengths, polygons or PNG")
    for name in ("image", "phrase", "id"):
        table.add_argument(f"--{name}-column", help="with --mask-column; found by name if not given")
    for source in (refer, table):
        source.add_argument(
            "--output", required=True, metavar="PATH", help="a .parquet file; local or s3:// and the like"
        )
        source.add_argument(
            "--embed-images", metavar="ROOT", help="put images named by path into the file, from below this directory"
        )
        source.add_argument("--storage-options", nargs="+", action="extend", metavar="K=V", help="for fsspec")
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


def _images(flags: argparse.Namespace, options: dict[str, Any], *, scattered: bool) -> Iterator[TrueImage]:
    if flags.source == "refer":
        if not is_local(flags.root):
            raise ValueError(f"--root {flags.root}: the original files must lie on this machine; copy them here first")
        return read_refer(_bare(flags.root), flags.dataset, flags.split)
    paths = list_files(tuple(flags.input), options, output=flags.output)
    for path in paths:
        if _is_same_file(path, flags.output):
            raise ValueError(f"--output {flags.output}: is one of the files of --input, choose another name")
    return read_hub_tables(
        paths,
        options,
        split=flags.split,
        mask_column=flags.mask_column,
        image_column=flags.image_column,
        phrase_column=flags.phrase_column,
        id_column=flags.id_column,
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
