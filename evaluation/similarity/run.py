"""A similarity run: one process reads, decodes and compares, a shard's images at a time; no Ray."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.evaluation.similarity.config import SimilarityConfig
from litelvlm.evaluation.similarity.examples import Chooser
from litelvlm.evaluation.similarity.measure import MeasuredPhrase, SimilarityMeter
from litelvlm.evaluation.similarity.records import RECORD_SCHEMA, RECORDS_NAME, REPORT_NAME, SCORES, SUMMARY_NAME
from litelvlm.evaluation.similarity.report import render
from litelvlm.evaluation.similarity.summary import SimilarityTally, in_words
from litelvlm.evaluation.similarity.towers import Towers
from litelvlm.patch_similarity import PatchSimilarity
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.shards.payload import ImageWork, ShardTask
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.storage.store import Storage

BATCH_IMAGES = 16


def measure_similarity(config: SimilarityConfig, *, stream: TextIO | None = None) -> int:
    """Compare and report. Returns the exit code: done, or too many records failed.

    Raises:
        UsageError: a mistake in the configuration or the input, to be shown as one line.
        StorageError: the store failed.
    """
    try:
        run = SimilarityRun(config, stream=stream)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    return run.run()


class SimilarityRun:
    """One run, from configuration to exit code. Building one checks all that can be wrong with the command."""

    def __init__(self, config: SimilarityConfig, *, stream: TextIO | None = None) -> None:
        run = config.run
        self._config, self._stream = config, stream or sys.stderr
        engine = Towers(model=run.model).on_device(_device(run.model.device))
        engine.check()
        self._storage = Storage(run.output, run.storage_options)
        if not run.overwrite and self._storage.exists(SUMMARY_NAME):
            raise ValueError(f"--output {run.output}: holds {SUMMARY_NAME}; choose another, or --overwrite it")
        self._plan = make_plan(run, revision=engine.revision())
        self._storage.check_writable()
        self._engine = engine
        self._decode = DecodeStage(
            mapping=self._plan.mapping,
            engine=engine,
            policy=uri_policy(run),
            storage=self._storage,
            session="",
            marker=AnswersMarker,
            storage_options=run.storage_options,
            sample=run.source.sample,
            max_pixels=run.source.max_pixels,
            keep_truncated=run.source.truncated == "keep",
        )
        self._similarity = PatchSimilarity.from_pretrained(
            run.model.model, run.model.clip, device=engine.device, dtype=engine.dtype
        )
        self._tally, self._chooser = SimilarityTally(), Chooser(config.comparison.examples)

    def run(self) -> int:
        """Compare all records, then write what they come to."""
        bar = RowBar(self._plan.num_rows, stream=self._stream)
        with self._storage.open_write(RECORDS_NAME) as sink, pq.ParquetWriter(sink, RECORD_SCHEMA) as writer:
            for shard in self._plan.shards:
                rows = []
                for one in self._measured(
                    self._decode.decode_rows(ShardTask(shard=shard, truth_rows=None)), shard.file
                ):
                    self._tally.add(one)
                    self._chooser.add(one)
                    rows.append(one.row)
                writer.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA))
                bar.advance(shard.num_rows, self._figures())
        bar.close(self._figures())
        return self._finish()

    def _measured(self, images: list[ImageWork], file: str) -> Iterator[MeasuredPhrase]:
        meter = SimilarityMeter(self._similarity, self._config.comparison, self._engine.template(), file)
        size = self._config.run.cluster.batch_images or BATCH_IMAGES
        for start in range(0, len(images), size):
            yield from meter(images[start : start + size])

    def _finish(self) -> int:
        config, tally = self._config, self._tally
        summary = self._facts() | tally.as_json(num_samples=config.bootstrap_samples)
        aurocs = tally.aurocs(SCORES[0])
        examples = self._chooser.examples(float(np.median(aurocs))) if len(aurocs) else []
        page = render(summary, tally, examples, Redactor(config.run.storage_options))
        self._storage.write_bytes(REPORT_NAME, page.encode())
        self._storage.write_bytes(SUMMARY_NAME, (json.dumps(summary, indent=1) + "\n").encode())
        self._say(self._in_words(summary))
        if tally.failed > config.run.max_failure_rate * tally.records:
            allowed = config.run.max_failure_rate
            self._say(
                f"error: {tally.failed} of {tally.records} phrases failed, more than --max-failure-rate {allowed} "
                f"allows; reasons are in {RECORDS_NAME}"
            )
            return EXIT_FAILURE_RATE
        return EXIT_DONE

    def _facts(self) -> dict[str, Any]:
        model, comparison = self._config.run.model, self._config.comparison
        question = self._engine.template().question if comparison.text == "question" else None
        return {
            "dataset": self._config.dataset,
            "model": model.model,
            "clip": model.clip,
            "model_revision": self._engine.revision(),
            "device": self._engine.device,
            "text": comparison.text,
            "question": question,
            "inside": comparison.inside,
            "num_patches": self._engine.num_visual_tokens(),
        }

    def _figures(self) -> str:
        return f"{self._tally.records} phrases  failed {self._tally.failed}"

    def _in_words(self, summary: dict[str, Any]) -> str:
        count = f"{summary['scored']} of {summary['records']} phrases compared"
        lines = [f"done: {count}, in {self._storage.root}: {REPORT_NAME}"]
        for name, figures in summary["scores"].items():
            lines.append(
                f"{name}: AUROC {figures['auroc']:.3f}, pooled {figures['auroc_pooled']:.3f}. {in_words(figures)}"
            )
        return "\n".join(lines)

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
