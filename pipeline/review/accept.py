"""From reviews to labels: what was reviewed, what may be accepted unseen, and the certificate of it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.output.card import write_card
from litelvlm.pipeline.review.accept_page import PAGE_NAME, write_page
from litelvlm.pipeline.review.certify import Verdict, certify
from litelvlm.pipeline.review.config import AcceptConfig
from litelvlm.pipeline.review.edits import HANDED_IN, UNSEEN, Row, read_edits, resolved
from litelvlm.pipeline.review.labels import LabelWriter, categories_of
from litelvlm.pipeline.review.population import Population, read_population
from litelvlm.pipeline.review.queue_table import Queue, read_queue
from litelvlm.pipeline.review.record_places import key_hash
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.where import Where
from litelvlm.pipeline.schemas import FORMAT_VERSION, SUCCESS_NAME
from litelvlm.pipeline.storage.store import Storage

CERTIFICATE_NAME = "certificate.json"
CALIBRATION_NAME = "calibration.json"
_CLAIM = "_accepted.json"


def accept(config: AcceptConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the labels and their certificate. Returns the certificate.

    Raises:
        UsageError: run, reviews and queue do not belong together, or the directory holds something else.
        DataError, StorageError: something is damaged, or a store failed.
    """
    output = Storage(config.output, config.storage_options)
    try:
        records = RunRecords(Storage(config.run, config.storage_options))
        edits = _edits(records, config)
        queue = _queue(records, config)
        where, strata = (queue.facts.where, queue.facts.strata) if queue else (None, "none")
        population = read_population(records, Where(where), strata)
        places = _places(records, population, edits, queue)
        _claim(output)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    verdict = certify(population, places, queue, edits, config)
    lineage = _lineage(records, config)
    writer = LabelWriter(output, categories_of(records), lineage)
    accepted = _accepted(records, population, verdict)
    counts = writer.write(records, edits, accepted, verdict.calibration)
    certificate = {
        "version": FORMAT_VERSION,
        **verdict.certificate,
        "records": counts,
        "reviewers": _effort(edits),
        "lineage": lineage,
    }
    output.write_bytes(CERTIFICATE_NAME, _json(certificate))
    scores, right = verdict.calibration
    output.write_bytes(CALIBRATION_NAME, _json({"score": scores.tolist(), "probability": right.tolist()}))
    write_page(output, certificate, verdict, title=records.storage.root)
    write_card(output, names=False)
    output.write_bytes(SUCCESS_NAME, _json(counts))
    for remark in certificate["remarks"]:
        say(remark)
    say(_sentence(certificate))
    say(f"done: {counts['reviewed']} reviewed, {counts['accepted']} accepted, {counts['open']} open in {output.root}")
    say(f"see {output.path(PAGE_NAME)}")
    return certificate


def _sentence(certificate: dict[str, Any]) -> str:
    count = certificate["num_accepted"]
    if not count:
        return "nothing may be accepted unseen"
    confidence = certificate["confidence"]
    certain = f" with confidence {confidence:g}" if confidence else " on average"
    return f"{count} masks may be accepted unseen: at most {certificate['max_error']:g} of them are wrong{certain}"


def _edits(records: RunRecords, config: AcceptConfig) -> list[Row]:
    found = [
        row | {HANDED_IN: number}
        for number, path in enumerate(config.reviewed)
        for row in read_edits(Storage(path, config.storage_options), records.saved.fingerprint)
    ]
    return found if len(config.reviewed) == 1 else resolved(found, "newest")


def _queue(records: RunRecords, config: AcceptConfig) -> Queue | None:
    if config.queue is None:
        return None
    queue = read_queue(config.queue, config.storage_options)
    if queue.facts.run != records.saved.fingerprint:
        raise ValueError(f"--queue {config.queue}: was made for another run")
    return queue


def _places(records: RunRecords, population: Population, edits: Sequence[Row], queue: Queue | None) -> dict[str, int]:
    """Places in the population of the records that are reviewed or queued."""
    wanted = {one["record"] for one in edits if one["record"]}
    queued = set(queue.items.column("record").to_pylist()) if queue else set()
    wanted |= queued
    if queue and int(population.is_answer.sum()) != queue.facts.num_answers:
        raise ValueError("--queue: the run has gone on since the queue was made; make a new one and review its rest")
    found: dict[str, int] = {}
    start = 0
    for table in records.tables(["record"]):
        for at, key in enumerate(table.column("record").to_pylist(), start=start):
            if key in wanted:
                place = int(np.searchsorted(population.rows, at))
                if place < len(population) and population.rows[place] == at:
                    found[key] = place
        start += table.num_rows
    strange = next((key for key in queued if key not in found), None)
    if strange is not None:
        raise ValueError(f"--queue: record {strange} is not in the run")
    return found


def _accepted(records: RunRecords, population: Population, verdict: Verdict) -> set[int]:
    """Hashes of the keys of what is accepted."""
    places = population.rows[verdict.is_accepted]
    return {key_hash(key) for key in records.take(places, ["record"]).column("record").to_pylist()}


def _lineage(records: RunRecords, config: AcceptConfig) -> dict[str, Any]:
    model = records.saved.config.model
    return {
        "run": records.storage.root,
        "run_fingerprint": records.saved.fingerprint,
        "model": model.model,
        "model_revision": records.saved.facts.get("model_revision"),
        "layout": model.layout,
        "rule": model.rule,
        "num_retain_tokens": model.num_retain_tokens,
        "reviewed": list(config.reviewed),
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _effort(edits: Sequence[Row]) -> dict[str, Any]:
    """Who reviewed, and how long it took, where tools tell. Lead times are those of images, each counted once."""
    seen = [one for one in edits if one["verdict"] != UNSEEN]
    visits = {
        (one["file_name"], one["image_id"], one["reviewer"], one["reviewed_at"]): one["lead_time_s"]
        for one in seen
        if one["lead_time_s"] is not None
    }
    timed = [one for one in seen if one["lead_time_s"] is not None]
    total = float(sum(visits.values()))
    agreements = [one["agreement"] for one in seen if one["agreement"] is not None]
    return {
        "names": sorted({one["reviewer"] for one in seen if one["reviewer"]}),
        "num_items": len(seen),
        "verdicts": {name: sum(one["verdict"] == name for one in edits) for name in dict.fromkeys(_verdicts(edits))},
        "lead_time_s": total if timed else None,
        "seconds_per_item": total / len(timed) if timed else None,
        "mean_agreement": sum(agreements) / len(agreements) if agreements else None,
    }


def _verdicts(edits: Sequence[Row]) -> list[str]:
    return sorted({one["verdict"] for one in edits})


def _claim(output: Storage) -> None:
    """Refuse a directory in which something else is; labels of an earlier call are replaced."""
    if not output.exists(_CLAIM) and (names := output.whole_files()):
        raise ValueError(f"--output {output.root}: holds something else, such as {names[0]}; choose another directory")
    output.write_bytes(_CLAIM, b"{}\n")
    old = [name for name in output.list("") if not name.startswith("_accepted")]
    output.delete([SUCCESS_NAME])
    output.delete(old)


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1, default=dataclasses.asdict).encode() + b"\n"
