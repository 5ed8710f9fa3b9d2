"""From committed shards to `answers.parquet`, `results.parquet` and the report; done anew whenever a run ends."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from litelvlm.config import GlammConfig
from litelvlm.evaluation.answers import Answers
from litelvlm.evaluation.config import EvaluationConfig, remark
from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.evaluation.records import ANSWER_SCHEMA, KINDS, RESULT_SCHEMA, SENTENCE_IDS
from litelvlm.evaluation.report.contrasts import Contrast, contrasts
from litelvlm.evaluation.results import Cost, result_rows
from litelvlm.pipeline.shards.manifest import RunPlan, Shard
from litelvlm.pipeline.shards.markers import read_data, read_marker
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.storage.store import Storage

ANSWERS_NAME = "answers.parquet"
RESULTS_NAME = "results.parquet"
RESULTS_CSV_NAME = "results.csv"
SUMMARY_NAME = "evaluation.json"
_LABELS = (SENTENCE_IDS, KINDS)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What results say of the model: its checkpoint's hash, V, and its sizes where they are known."""

    revision: str
    num_visual_tokens: int
    sizes: GlammConfig | None


def merge_evaluation(storage: Storage, plan: RunPlan, config: EvaluationConfig, model: ModelFacts) -> dict[str, Any]:
    """Verify and merge all shards. Writes both tables and returns the summary, which it writes as well.

    Raises:
        DataError: a shard's file is not what was committed.
    """
    markers = [read_marker(storage, shard.shard_id, AnswersMarker) for shard in plan.shards]
    answers, cost = _write_answers(storage, plan, markers, config), Cost.of(markers)
    rows = list(
        result_rows(
            config,
            answers,
            cost,
            revision=model.revision,
            num_visual_tokens=model.num_visual_tokens,
            sizes=model.sizes,
        )
    )
    results = pa.Table.from_pylist(rows, schema=RESULT_SCHEMA)
    for name, write in ((RESULTS_NAME, pq.write_table), (RESULTS_CSV_NAME, csv.write_csv)):
        buffer = io.BytesIO()
        write(results, buffer)
        storage.write_bytes(name, buffer.getvalue())
    summary = _summary(config, model, answers, cost) | {"results": [row for row in rows if row["slice_by"] == "all"]}
    storage.write_bytes(SUMMARY_NAME, (json.dumps(summary, indent=1, sort_keys=True) + "\n").encode())
    return summary


def _write_answers(storage: Storage, plan: RunPlan, markers: list[AnswersMarker], config: EvaluationConfig) -> Answers:
    stream = storage.open_write(ANSWERS_NAME)
    try:
        with pq.ParquetWriter(stream, ANSWER_SCHEMA, compression="zstd") as writer:
            answers = Answers.of(_written(writer, storage, plan, markers, config.run.storage_options))
        stream.close()
    finally:
        stream.discard()  # publishes nothing, unless it is published already
    return answers


def _summary(config: EvaluationConfig, model: ModelFacts, answers: Answers, cost: Cost) -> dict[str, Any]:
    found = contrasts(config.sweep.combinations(), answers, num_samples=config.bootstrap_samples)
    return {
        "dataset": config.dataset,
        "protocol": config.protocol.describe(),
        "model": config.run.model.model,
        "model_revision": model.revision,
        "num_visual_tokens": model.num_visual_tokens,
        "images": cost.images,
        "answers": len(answers.failed),
        "failed": int(answers.failed.sum()),
        "devices": list(cost.devices),
        "encode_s": cost.encode_s,
        "answer_s": sum(cost.answer_s),
        "contrasts": [contrast_values(one, model.num_visual_tokens) for one in found],
    }


def contrast_values(one: Contrast, num_visual_tokens: int) -> dict[str, Any]:
    """A question's answer for the summary."""
    names = ("rule",) if one.first.rule != one.second.rule else ("order", "positions")
    sides = [", ".join(getattr(side, name) for name in names) for side in (one.first, one.second)]
    compared = f"{sides[0]} − {sides[1]}"
    if names == ("rule",):
        compared += remark(one.first.order, one.first.positions)
    else:
        compared = f"{one.first.rule}: {compared}"
    return {
        "question": one.question,
        "compared": compared,
        "num_retain_tokens": one.first.budget(num_visual_tokens),
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "answer": one.verdict,
    }


def _written(
    writer: pq.ParquetWriter, storage: Storage, plan: RunPlan, markers: list[AnswersMarker], options: dict[str, Any]
) -> Iterator[pa.Table]:
    """Every shard's answers with the labels of their expressions, written on the way."""
    for shard, marker in zip(plan.shards, markers, strict=True):
        table = _labelled(read_data(storage, marker, ANSWER_SCHEMA), shard, options)
        writer.write_table(table)
        yield table


def _labelled(table: pa.Table, shard: Shard, options: dict[str, Any]) -> pa.Table:
    """Fill in sentence ids and kinds, where the input has lists of them beside its phrases."""
    labels = _read_labels(shard, options)
    places = list(zip(table.column("source_row").to_pylist(), table.column("phrase_index").to_pylist(), strict=True))
    for column, name in (("sentence_id", SENTENCE_IDS), ("kind", KINDS)):
        found = labels.get(name)
        if found is None:
            continue
        values = [_at(found[row - shard.row_group_start], index) for row, index in places]
        position = table.schema.get_field_index(column)
        table = table.set_column(position, table.schema.field(column), pa.array(values, pa.string()))
    return table


def _read_labels(shard: Shard, options: dict[str, Any]) -> dict[str, list[Any]]:
    with RangeFile(shard.file, options) as file:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        kinds = {field.name: field.type for field in parquet.schema_arrow}
        names = [name for name in _LABELS if pa.types.is_list(kinds.get(name, pa.null()))]
        if not names:
            return {}
        table = parquet.read_row_group(shard.row_group, columns=names)
    return {name: pc.cast(table.column(name), pa.list_(pa.string())).to_pylist() for name in names}


def _at(values: list[Any] | None, index: int) -> str | None:
    return values[index] if values is not None and index < len(values) else None
