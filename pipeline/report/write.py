"""`report.html`: what a run cost, what pruning saved and at what loss, in one file that needs nothing else.

Made from what a run leaves behind (markers or the throughput table, records, `run.json`), so that it can be written at
the end of a run, while it goes on, or again later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.measure.run_summary import find_summary
from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report import sections
from litelvlm.pipeline.report.answers import Facts, answers, header
from litelvlm.pipeline.report.baseline import BaselineFacts, baseline_facts
from litelvlm.pipeline.report.examples import find_examples
from litelvlm.pipeline.report.galleries import draw_pictures
from litelvlm.pipeline.report.records import Reasons, reasons_of_errors, record_parts, score_facts
from litelvlm.pipeline.report.rendering import render_page
from litelvlm.pipeline.report.shards import ShardTable
from litelvlm.pipeline.schemas import ERRORS_NAME, THROUGHPUT_NAME
from litelvlm.pipeline.shards.manifest import read_manifest
from litelvlm.pipeline.shards.markers import ShardMarker, committed, find_markers
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage

REPORT_NAME = "report.html"

_SHOWN = 6  # pictures of a kind
_UNMERGED_SHARDS = 500  # of a run that goes on, so many are looked into for scores


def write_report(storage: Storage, config: RunConfig, policy: UriPolicy) -> None:
    """Write `report.html` into a run's output.

    `policy` says which image URIs may be read for the pictures; one that cannot be read becomes a note.

    Raises:
        ValueError, StorageError: the output holds no run, or cannot be read or written.
    """
    facts = gather_facts(storage, config)
    pictures = draw_pictures(facts, storage, policy)
    storage.write_bytes(REPORT_NAME, render(facts, pictures, title=storage.root).encode())


def gather_facts(storage: Storage, config: RunConfig) -> Facts:
    """Everything that the report says in words and charts. Raises ValueError where there is no run."""
    planned = read_manifest(storage, ["num_rows"]).column("num_rows").to_numpy()
    shards = _merged(storage) if storage.exists(THROUGHPUT_NAME) else _unmerged(storage, config)
    parts = record_parts(storage)
    sampled = None
    if not parts:
        names = shards.data_names or [marker.data.name for marker in committed(storage, ShardMarker)]
        sampled = len(names) if len(names) > _UNMERGED_SHARDS else None
        parts = names[:: -(-len(names) // _UNMERGED_SHARDS)] if names else []
    scores = score_facts(storage, parts, shown=_SHOWN)
    scores.sampled_from = sampled
    return Facts(
        run=find_summary(storage),
        config=config,
        table=shards.table,
        planned_shards=len(planned),
        planned_rows=int(planned.sum()),
        reasons=shards.reasons,
        scores=scores,
        examples=find_examples(
            storage, parts, dict.fromkeys((one.file_name, one.image_id) for one in scores.worst), shown=_SHOWN
        ),
        baseline=shards.baseline,
    )


def render(facts: Facts, pictures: dict[str, list[dict[str, Any]]], *, title: str) -> str:
    """The page. Whatever comes from the run is cleaned of secrets and of what cannot be seen, then escaped."""
    values = {
        "title": title,
        "header": header(facts),
        "answers": answers(facts),
        "device": sections.device_section(facts),
        "over_time": sections.time_section(facts),
        "shards": sections.shard_section(facts),
        "pruning": sections.pruning_section(facts),
        "scores": sections.score_section(facts),
        "failures": sections.failure_section(facts),
        "settings": sections.settings_section(facts),
        "pictures": pictures,
    }
    redact = Redactor(facts.config.storage_options)
    return render_page(
        "report.html", values, redact=redact, styles=["report.css"], packages=["litelvlm.pipeline.report"]
    )


@dataclasses.dataclass(kw_only=True)
class _Shards:
    table: ShardTable
    reasons: Reasons
    baseline: BaselineFacts | None
    data_names: list[str]


def _merged(storage: Storage) -> _Shards:
    """From the tables of a run that was merged; only the markers of the compared shards are read."""
    with storage.open_read(THROUGHPUT_NAME) as stream:
        table = ShardTable(read_parquet(stream))
    compared = table.numbers("baseline_images") > 0
    shard_ids = [name for name, was in zip(table.texts("shard_id"), compared, strict=True) if was]
    reasons = reasons_of_errors(storage) if storage.exists(ERRORS_NAME) else Reasons()
    markers = (marker for marker in find_markers(storage, shard_ids, ShardMarker) if marker is not None)
    baseline = baseline_facts(markers, shown=_SHOWN)
    return _Shards(table=table, reasons=reasons, baseline=baseline, data_names=[])


def _unmerged(storage: Storage, config: RunConfig) -> _Shards:
    """From the markers alone."""
    reasons = Reasons()
    compared: list[ShardMarker] = []
    data_names: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for marker in committed(storage, ShardMarker):
            for reason, amount in marker.reasons.items():
                reasons.add(reason, amount)
            if marker.failed > (counted := sum(marker.reasons.values())):
                reasons.add("other reasons", marker.failed - counted)
            if marker.baseline is not None:
                compared.append(marker)
            data_names.append(marker.data.name)
            yield throughput_row(marker, gpus_per_actor=config.cluster.gpus_per_actor, gpu_price=config.gpu_price)

    table = ShardTable.of_rows(rows())
    baseline = baseline_facts(compared, shown=_SHOWN)
    return _Shards(table=table, reasons=reasons, baseline=baseline, data_names=data_names)
