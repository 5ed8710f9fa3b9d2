"""An export: the COCO parts of a finished run beside each other in Ray tasks, each written in the other format."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import ray

from litelvlm.pipeline.cluster import ray_session
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.export.coco_polygons import CocoPolygons
from litelvlm.pipeline.export.config import ExportConfig
from litelvlm.pipeline.export.cvat import Cvat
from litelvlm.pipeline.export.datumaro import Datumaro
from litelvlm.pipeline.export.formats import Files, Format
from litelvlm.pipeline.export.hub import HubDataset
from litelvlm.pipeline.export.label_maps import LabelMaps
from litelvlm.pipeline.export.run_images import MaskedImage, finished_parts, read_classes, read_images
from litelvlm.pipeline.export.source_files import SourceFiles, named_from
from litelvlm.pipeline.export.voc import Voc
from litelvlm.pipeline.export.yolo import YoloSeg
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.output.parallel import Tasks, chunks
from litelvlm.pipeline.output.unique_names import UniqueNames, hashes_of, name_key, without_extension
from litelvlm.pipeline.schemas import SUCCESS_NAME
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.storage.directory_claim import directory_claim
from litelvlm.pipeline.storage.store import Storage

CLAIM = "_export.json"
_FORMATS: dict[str, type[Format]] = {
    "coco-polygons": CocoPolygons,
    "yolo-seg": YoloSeg,
    "label-maps": LabelMaps,
    "hf-datasets": HubDataset,
    "voc": Voc,
    "datumaro": Datumaro,
    "cvat": Cvat,
}
_NAMES = 10_000  # of images, that are hashed together


def export(config: ExportConfig, say: Callable[[str], None]) -> Counter[str]:
    """Write a run in another format, or write it again after a crash. Returns what was counted.

    Raises:
        UsageError: there is no finished run, or the format or the directory does not serve.
        DataError: the run is damaged.
        RunError, StorageError: the cluster or a store failed.
    """
    source, output = (Storage(root, config.storage_options) for root in (config.run, config.output))
    try:
        parts = finished_parts(source)
        run = claimed_run(source).config_with(config.storage_options)
        written = _FORMATS[config.to](
            read_classes(source, parts[0]), tolerance=config.tolerance, with_images=config.images
        )
        written.check()
        _claim(config, source, output)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    if output.exists(SUCCESS_NAME):
        say(f"{config.output} is complete; nothing to do")
        return Counter(json.loads(output.read_bytes(SUCCESS_NAME)))
    counts: Counter[str] = Counter()
    bar = RowBar(None)
    renamed = _renamed(source) if written.unique_stems else {}
    work = partial(_write_part, written, config, run, source, output, renamed)
    with ray_session(config.cluster) if len(parts) > 1 else nullcontext():
        tasks = Tasks(beside=ray.is_initialized() and len(parts) > 1)
        for (found,) in tasks.ordered(work, parts, num_kept=0):
            counts.update(found)
            bar.advance(found["images"], f"{counts['objects']} objects")
    bar.close()
    counts["renamed"] = len(renamed)
    with Files(output) as files:
        written.finish([_stem(part) for part in parts], files)
    output.write_bytes(SUCCESS_NAME, json.dumps(counts).encode() + b"\n")
    for line in [*written.remarks(counts), *_renamed_line(renamed), *_unread(counts)]:
        say(line)
    say(f"done: {counts['images']} images, {counts['objects']} objects as {config.to}: {config.output}")
    return counts


def _renamed(source: Storage) -> dict[str, str]:
    """New names of images that a format would take for others, since it goes by names without extension."""
    names = UniqueNames(without_extension)
    for batch in chunks((one.file_name for one in named_from(source, 1)), _NAMES):
        names.add(*hashes_of([(name_key(name), name) for name in batch], without_extension))
    if not names.clashing:
        return {}
    names.rename((name_key(one.file_name), one.file_name) for one in named_from(source, 1))
    return {
        one.file_name: names.renamed[name_key(one.file_name)]
        for one in named_from(source, 1)
        if name_key(one.file_name) in names.renamed
    }


def _write_part(
    written: Format,
    config: ExportConfig,
    run: RunConfig,
    source: Storage,
    output: Storage,
    renamed: dict[str, str],
    part: str,
) -> tuple[Counter[str]]:
    """In a task: the files of a part."""
    counts: Counter[str] = Counter()
    images = _counted(read_images(source, part, config.min_score), counts)
    files_of_run = SourceFiles(source, run, uri_policy(run)) if config.images else None
    if files_of_run is not None:
        images = files_of_run.add_to(images)
    with Files(output) as files:
        counts.update(written.write(_stem(part), _with_names(images, renamed), files))
    if files_of_run is not None:
        counts.update(files_of_run.counts)
    return (counts,)


def _with_names(images: Iterator[MaskedImage], renamed: dict[str, str]) -> Iterator[MaskedImage]:
    for image in images:
        image.file_name = renamed.get(image.file_name, image.file_name)
        yield image


def _counted(images: Iterator[MaskedImage], counts: Counter[str]) -> Iterator[MaskedImage]:
    for image in images:
        counts.update(images=1, objects=len(image.objects))
        yield image


def _renamed_line(renamed: dict[str, str]) -> list[str]:
    if not renamed:
        return []
    first, name = next(iter(renamed.items()))
    return [f"{len(renamed)} images have other names here, since extensions do not count, such as {first}: {name}"]


def _unread(counts: Counter[str]) -> list[str]:
    found = {name: count for name, count in counts.items() if name.startswith("unread: ")}
    if not found:
        return []
    reasons = ", ".join(f"{count} {name.removeprefix('unread: ')}" for name, count in sorted(found.items()))
    return [f"{sum(found.values())} images cannot be read any more ({reasons}); their masks are there"]


def _stem(part: str) -> str:
    return posixpath.splitext(posixpath.basename(part))[0]


def _claim(config: ExportConfig, source: Storage, output: Storage) -> None:
    """Note what is made, or refuse a directory in which something else is."""
    mine = {
        "run": hashlib.sha256(source.read_bytes(SUCCESS_NAME)).hexdigest(),
        "to": config.to,
        "images": config.images,
        "min_score": config.min_score,
        "tolerance": config.tolerance,
    }
    output.write_bytes(CLAIM, directory_claim(output, CLAIM, mine, given=config.output, kind="export"))
