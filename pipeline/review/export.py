"""Records out to a review tool: a queue, what a condition holds for, or all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.export.cvat import Cvat
from litelvlm.pipeline.export.datumaro import Datumaro
from litelvlm.pipeline.export.formats import Files, Format
from litelvlm.pipeline.export.run_images import MaskedImage
from litelvlm.pipeline.export.source_files import SourceFiles
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.review.chosen_images import Chosen, chosen_images, keys_where
from litelvlm.pipeline.review.config import ReviewExportConfig
from litelvlm.pipeline.review.formats.coco import Coco
from litelvlm.pipeline.review.formats.fiftyone import FiftyOne
from litelvlm.pipeline.review.formats.label_studio import LabelStudio
from litelvlm.pipeline.review.labels import categories_of
from litelvlm.pipeline.review.queue_table import read_queue
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.where import Where
from litelvlm.pipeline.storage.directory_claim import directory_claim
from litelvlm.pipeline.storage.store import Storage

CLAIM = "_review_export.json"
_FORMATS: dict[str, type[Format]] = {
    "label-studio": LabelStudio,
    "cvat": Cvat,
    "fiftyone": FiftyOne,
    "coco": Coco,
    "datumaro": Datumaro,
}
_PART_IMAGES = 500  # of a CVAT task, or of a file
_ONE_PART = ("label-studio", "fiftyone")
_COPIED = ("label-studio", "cvat", "fiftyone")  # with images that the tool cannot open where they are
_OPENS_URLS = ("label-studio", "cvat")


def export_review(config: ReviewExportConfig, say: Callable[[str], None]) -> Counter[str]:
    """Write, or write again, what a review tool takes; bring it to a server where one is named. Returns counts.

    Raises:
        UsageError: there is no run, a setting or the directory does not serve, or the server refuses.
        DataError, StorageError: the run is damaged, or a store failed.
    """
    source, output = (Storage(root, config.storage_options) for root in (config.run, config.output))
    try:
        if config.push and config.to not in ("label-studio", "cvat"):
            raise ValueError(f"--push: {config.to} has no server; label-studio and cvat have")
        records = RunRecords(source)
        keys = _keys(records, config)
        written = _FORMATS[config.to](
            categories_of(records), tolerance=0.0, with_images=config.copy_images is not False
        )
        written.check()
        _claim(config, records, output)
        counts = _write(records, keys, written, output, config)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    say(f"{counts['images']} images, {counts['objects']} masks, {counts['unmasked']} phrases without one")
    if unread := sum(count for name, count in counts.items() if name.startswith("unread")):
        say(f"{unread} images cannot be read any more and are not copied")
    if config.push:
        _push(config, records, output, say)
    say(f"done: {config.to} in {output.root}")
    return counts


def _keys(records: RunRecords, config: ReviewExportConfig) -> dict[str, int] | None:
    """Keys of the chosen records, in the queue's order; None for all."""
    found: dict[str, int] | None = None
    if config.queue is not None:
        queue = read_queue(config.queue, config.storage_options)
        if queue.facts.run != records.saved.fingerprint:
            raise ValueError(f"--queue {config.queue}: was made for another run")
        found = {key: at for at, key in enumerate(queue.items.column("record").to_pylist())}
    if config.where is not None:
        holding = keys_where(records, Where(config.where))
        kept = list(holding) if found is None else [key for key in found if key in holding]
        found = {key: at for at, key in enumerate(kept)}
    return found


def _write(
    records: RunRecords, keys: dict[str, int] | None, written: Format, output: Storage, config: ReviewExportConfig
) -> Counter[str]:
    counts: Counter[str] = Counter()
    run = records.saved.config_with(config.storage_options)
    files_of_run = SourceFiles(records.storage, run, uri_policy(run))
    bar = RowBar(None)
    chosen: Iterable[Chosen] = chosen_images(
        records,
        keys,
        whole=config.to != "label-studio",  # the others tell later what is left of an image, not what was shown
        unique_stems=written.unique_stems,
        image_base=config.image_base,
    )
    if config.queue is not None and keys is not None:
        chosen = sorted(chosen, key=lambda one: min(keys.get(key, len(keys)) for key in _records(one[0])))

    def images() -> Iterator[MaskedImage]:
        for image, row in chosen:
            if _is_copied(image, config):
                files_of_run.put(image, row)
            counts.update(images=1, objects=len(image.objects), unmasked=len(image.unmasked))
            bar.advance(1, f"{counts['objects']} masks")
            yield image

    stream, parts = images(), list[str]()
    with Files(output) as files:
        while True:
            part = f"part-{len(parts):05d}"
            piece = stream if config.to in _ONE_PART else iter(list(islice(stream, _PART_IMAGES)))
            first = next(piece, None)
            if first is None and parts:
                break
            written.write(part, _chained(first, piece), files)
            parts.append(part)
        written.finish(parts, files)
    bar.close()
    counts.update(files_of_run.counts)
    return counts


def _chained(first: MaskedImage | None, rest: Iterator[MaskedImage]) -> Iterator[MaskedImage]:
    if first is not None:
        yield first
        yield from rest


def _records(image: MaskedImage) -> list[str]:
    return [*(one.record for one in image.objects), *(one.record for one in image.unmasked)]


def _is_copied(image: MaskedImage, config: ReviewExportConfig) -> bool:
    if config.copy_images is not None:
        return config.copy_images
    can_open = image.url is not None and (config.to in _OPENS_URLS or config.image_base is not None)
    return config.to in _COPIED and not can_open


def _push(config: ReviewExportConfig, records: RunRecords, output: Storage, say: Callable[[str], None]) -> None:
    if config.to == "label-studio":
        from litelvlm.pipeline.review.push.label_studio import push
    else:
        from litelvlm.pipeline.review.push.cvat import push
    name = config.project or f"review of {records.saved.fingerprint[:12]}"
    push(str(config.push), output, name, say)


def _claim(config: ReviewExportConfig, records: RunRecords, output: Storage) -> None:
    """Note what is made, or refuse a directory in which something else is."""
    queue = config.queue and hashlib.sha256(read_queue(config.queue, config.storage_options).to_parquet()).hexdigest()
    mine: dict[str, Any] = {
        "run": records.saved.fingerprint,
        "to": config.to,
        "queue": queue,
        "where": config.where,
        "image_base": config.image_base,
        "copy_images": config.copy_images,
    }
    output.write_bytes(CLAIM, directory_claim(output, CLAIM, mine, given=config.output, kind="export"))
