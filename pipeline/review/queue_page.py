"""A queue as a page of pictures, to look through on any screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from markupsafe import Markup

from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report import words
from litelvlm.pipeline.report.pictures import SourceImages, draw_picture
from litelvlm.pipeline.report.rendering import render_page
from litelvlm.pipeline.review.config import QueueConfig
from litelvlm.pipeline.review.queue_table import RANDOM, TARGETED, Queue
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage

_MAX_PHRASE, _MAX_ORIGIN = 160, 80  # characters in a caption
PAGE_PACKAGES = ("litelvlm.pipeline.review", "litelvlm.pipeline.report")


def write_page(
    queue: Queue, masks: Mapping[str, str], records: RunRecords, output: Storage, name: str, config: QueueConfig
) -> None:
    """Write the page of the queue's first items. An image that cannot be read becomes a note.

    `masks` are COCO's compressed counts by record.
    """
    run = records.saved.config_with(config.storage_options)
    rows = queue.items.slice(0, config.pictures).to_pylist()
    images = SourceImages(records.storage, run, uri_policy(run)).load(
        dict.fromkeys((row["source_file"], row["source_row"]) for row in rows)
    )
    items = []
    for row in rows:
        image, size_hw = images[row["source_file"], row["source_row"]], (row["height"], row["width"])
        picture = draw_picture(image, size_hw, masks.get(row["record"]))
        items.append(_figure(row) | {"picture": picture, "uri": Markup(picture.uri) if picture.uri else None})
    values = {
        "title": records.storage.root,
        "sentence": _sentence(queue),
        "strata": _strata(queue),
        "items": items,
        "shown": len(rows),
        "total": queue.items.num_rows,
    }
    page = render_page(
        "queue.html", values, redact=Redactor(run.storage_options), styles=["report.css"], packages=PAGE_PACKAGES
    )
    output.write_bytes(name, page.encode())


def _figure(row: dict[str, Any]) -> dict[str, Any]:
    score = f"score {words.score(row['score'])}" if row["score"] is not None else row["status"]
    other = f", IoU {words.score(row['other_iou'])} with the other run" if row["other_iou"] is not None else ""
    return {
        "phrase": words.clipped(row["phrase"], _MAX_PHRASE),
        "figure": f"{row['position'] + 1}. {score}{other}, {row['part']}",
        "origin": words.clipped(row["image_id"], _MAX_ORIGIN),
    }


def _sentence(queue: Queue) -> str:
    num_images = len(pc.unique(queue.items.column("file_name")))
    return (
        f"{words.count(queue.items.num_rows)} of {words.count(queue.facts.num_records)} records, "
        f"on {words.count(num_images)} images."
    )


def _strata(queue: Queue) -> list[tuple[str, ...]]:
    names, parts = (queue.items.column(name).to_pylist() for name in ("stratum", "part"))
    counts = Counter(zip(names, parts, strict=True))
    return [
        (name, words.count(size), words.count(counts[name, RANDOM]), words.count(counts[name, TARGETED]))
        for name, size in sorted(queue.facts.strata_sizes.items(), key=lambda one: -one[1])
    ]
