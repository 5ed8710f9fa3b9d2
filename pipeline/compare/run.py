"""A comparison: the records of two runs, put together by their keys and compared one by one."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from litelvlm.pipeline.compare.answers import (
    COLUMNS,
    FIRST_COLUMNS,
    OTHER_IMAGE,
    OTHER_PHRASE,
    compare_answers,
)
from litelvlm.pipeline.compare.comparison import SUMMARY_NAME, Comparison, RunFacts
from litelvlm.pipeline.compare.config import CompareConfig
from litelvlm.pipeline.compare.costs import run_costs
from litelvlm.pipeline.compare.page import PAGE_NAME, write_page
from litelvlm.pipeline.compare.pieces import RecordPieces
from litelvlm.pipeline.compare.tally import ComparisonTally
from litelvlm.pipeline.compare.worst import Worst
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.measure.run_summary import find_summary
from litelvlm.pipeline.output.table_writer import TableWriter, closing_or_discarding
from litelvlm.pipeline.review.record_places import RecordPlaces
from litelvlm.pipeline.review.second_opinion import ComparedRuns
from litelvlm.pipeline.schemas import COMPARISON_NAME, COMPARISON_SCHEMA, SUCCESS_NAME
from litelvlm.pipeline.shards.claim import SavedRun, claimed_run
from litelvlm.pipeline.storage.directory_claim import directory_claim
from litelvlm.pipeline.storage.store import Storage

_CLAIM = "_compare.json"


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One of the two."""

    path: str
    storage: Storage
    saved: SavedRun


def compare_runs(config: CompareConfig, say: Callable[[str], None]) -> Comparison:
    """Write `compare.parquet`, `compare.html` and `compare.json`. Returns what the last one says.

    Memory: some 80 bytes a record, and a few thousand records of both runs.

    Raises:
        UsageError: there are no two finished runs, they have no record in common, or the directory does not serve.
        DataError, StorageError: a run is damaged, or a store failed.
    """
    output = Storage(config.output, config.storage_options)
    try:
        a, b = (_finished(path, config.storage_options) for path in (config.a, config.b))
        claim = _claim(config, a, b, output)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    tally, worst = ComparisonTally(), Worst(config.worst)
    first, second = RecordPieces(a.storage, FIRST_COLUMNS), RecordPieces(b.storage, COLUMNS)
    about = ComparedRuns(a=a.saved.fingerprint, b=b.saved.fingerprint, agree_iou=config.agree_iou)
    schema = COMPARISON_SCHEMA.with_metadata(about.metadata)
    with closing_or_discarding(TableWriter(output, COMPARISON_NAME, schema)) as table:
        _compare_all(first, second, table, tally, worst, config)
        both = sum(tally.statuses.values())
        if both == tally.left_out[OTHER_PHRASE] + tally.left_out[OTHER_IMAGE]:
            raise UsageError(f"{config.a} and {config.b} have no record in common: they are of different inputs")
        output.write_bytes(_CLAIM, claim)
    facts = [_facts(run, len(pieces), config.gpu_price) for run, pieces in ((a, first), (b, second))]
    comparison = Comparison(
        a=facts[0],
        b=facts[1],
        agree_iou=config.agree_iou,
        records={
            "both": both,
            "compared": tally.num_compared,
            "only_a": len(first) - both,
            "only_b": len(second) - both,
        },
        left_out=dict(sorted(tally.left_out.items())),
        statuses=[{"a": one, "b": other, "records": count} for (one, other), count in tally.statuses.items()],
        overall=tally.overall(),
        by_answer=tally.by_answer(),
        by_category=tally.by_category(),
        by_size=tally.by_size(),
        by_words=tally.by_words(),
        iou_bins=tally.bins(),
    )
    run = a.saved.config_with(config.storage_options)
    write_page(output, comparison, worst, first, second, run, a.storage)
    for pieces in (first, second):
        pieces.close()
    output.write_bytes(SUMMARY_NAME, comparison.to_json())
    for line in _described(comparison):
        say(line)
    say(f"done: {output.path(COMPARISON_NAME)}; see {output.path(PAGE_NAME)}")
    return comparison


def _compare_all(
    first: RecordPieces,
    second: RecordPieces,
    table: TableWriter,
    tally: ComparisonTally,
    worst: Worst,
    config: CompareConfig,
) -> None:
    """A row group of the first run at a time."""
    places = RecordPlaces(one.column("record") for one in RecordPieces(second.storage, ["record"]).tables())
    bar, start = RowBar(len(first)), 0
    for records in first.tables():
        found = places.find(records.column("record"))
        inside = np.flatnonzero(found >= 0)
        if len(inside):
            rows = compare_answers(records.take(inside), second.take(found[inside]), config.agree_iou)
            table.add_table(rows)
            tally.add(rows)
            worst.add(rows, start + inside, found[inside])
        start += records.num_rows
        bar.advance(records.num_rows, f"{tally.num_compared} compared")
    bar.close()


def _finished(path: str, options: dict[str, Any]) -> _Run:
    storage = Storage(path, options)
    saved = claimed_run(storage)
    if not storage.exists(SUCCESS_NAME):
        summary = find_summary(storage)
        if summary is not None and summary.state == "failure_rate_exceeded":
            raise ValueError(f"{shlex.quote(path)}: too many records failed; a higher --max-failure-rate finishes it")
        raise ValueError(f"{shlex.quote(path)}: is not finished; the command that began it goes on with it")
    return _Run(path=path, storage=storage, saved=saved)


def _claim(config: CompareConfig, a: _Run, b: _Run, output: Storage) -> bytes:
    """What is made, for a note of it. Raises ValueError for a directory in which something else is."""
    mine = {
        "a": a.saved.fingerprint,
        "b": b.saved.fingerprint,
        "agree_iou": config.agree_iou,
        "worst": config.worst,
        "gpu_price": config.gpu_price,
    }
    return directory_claim(output, _CLAIM, mine, given=config.output, kind="comparison")


def _facts(run: _Run, num_records: int, gpu_price: float | None) -> RunFacts:
    config = run.saved.config
    model = config.model
    return RunFacts(
        path=run.path,
        fingerprint=run.saved.fingerprint,
        model=model.model,
        model_revision=str(run.saved.facts.get("model_revision", "")),
        rule=model.rule,
        num_retain_tokens=model.num_retain_tokens,
        layout=model.layout,
        precision=model.precision,
        records=num_records,
        costs=run_costs(run.storage, config.gpu_price if gpu_price is None else gpu_price),
    )


def _described(comparison: Comparison) -> list[str]:
    records, overall = comparison.records, comparison.overall
    left_out = ", ".join(f"{count} {reason}" for reason, count in comparison.left_out.items())
    lines = [f"{records['both']} records in both runs, {records['only_a']} only in A, {records['only_b']} only in B"]
    if left_out:
        lines.append(f"{records['both'] - records['compared']} are not compared: {left_out}")
    if overall.agree is not None:
        lines.append(
            f"{overall.agree:.1%} of {overall.records} agree at IoU {comparison.agree_iou:g}, mean IoU "
            f"{overall.mean_iou:.3f}, median {overall.median_iou:.3f}"
        )
    return lines
