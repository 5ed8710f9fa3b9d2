"""`--write-images`: a copy of every image of a run beside its COCO files, upright, under the name that these have."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import ray

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.export.run_images import MaskedImage, finished_parts, read_images
from litelvlm.pipeline.export.source_files import SourceFiles
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.output.parallel import Tasks
from litelvlm.pipeline.schemas import UPRIGHT_DIR, UPRIGHT_NAME
from litelvlm.pipeline.storage.store import Storage

_IN_THE_WAY = (NotADirectoryError, IsADirectoryError, FileExistsError)


def has_images(storage: Storage) -> bool:
    """Whether every image of a run has been copied."""
    try:
        counts: dict[str, int] = json.loads(storage.read_bytes(UPRIGHT_NAME))
    except FileNotFoundError:
        return False
    return counts["images"] == counts["copied"]


def write_images(storage: Storage, config: RunConfig, say: Callable[[str], None]) -> Counter[str]:
    """Copy the images of a finished run, each whole or not at all. Those that are there are left alone, so that it can
    be killed and called again. Returns how many `images` there are, how many are `copied`, and the reasons of others.

    They are read from the input once more; one that cannot be read any more is counted and told.

    Raises:
        DataError: the run is damaged.
        RunError, StorageError: the cluster or a store failed.
    """
    counts: Counter[str] = Counter(images=0, copied=0)
    parts = finished_parts(storage)
    tasks = Tasks(beside=ray.is_initialized() and len(parts) > 1)
    for (found,) in tasks.ordered(partial(_write_part, storage, config), parts, num_kept=0):
        counts.update(found)
    storage.write_bytes(UPRIGHT_NAME, json.dumps(counts, sort_keys=True).encode() + b"\n")
    line = f"{counts['copied']} of {counts['images']} images are in {storage.path(UPRIGHT_DIR)}"
    reasons = [f"{count} {name}" for name, count in sorted(counts.items()) if name not in ("images", "copied")]
    say(f"{line} ({', '.join(reasons)})" if reasons else line)
    return counts


def _write_part(storage: Storage, config: RunConfig, part: str) -> tuple[Counter[str]]:
    """In a task: the images of a COCO part."""
    counts: Counter[str] = Counter()
    files = SourceFiles(storage, config, uri_policy(config))
    for image in files.add_to(read_images(storage, part, math.inf), unless=partial(_is_there, storage)):
        counts["images"] += 1
        if image.data is None:
            counts["copied"] += _is_there(storage, image)
            continue
        try:
            storage.write_bytes(_name(image), image.data)
            counts["copied"] += 1
        except StorageError as error:
            if not isinstance(error.__cause__, _IN_THE_WAY):
                raise
            counts["unwritten: a name is the folder of another"] += 1  # which a store takes and a disk does not
    counts.update(files.counts)
    return (counts,)


def _is_there(storage: Storage, image: MaskedImage) -> bool:
    return storage.exists(_name(image))


def _name(image: MaskedImage) -> str:
    return f"{UPRIGHT_DIR}/{image.file_name}"
