"""The head of a report: what a run cost, what pruning saved, what quality it kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from litelvlm.pipeline.config import DEMO_REMARK, RunConfig
from litelvlm.pipeline.measure.run_summary import RunSummary
from litelvlm.pipeline.measure.savings import savings
from litelvlm.pipeline.report import words
from litelvlm.pipeline.report.baseline import BaselineFacts
from litelvlm.pipeline.report.examples import Examples
from litelvlm.pipeline.report.records import Reasons, ScoreFacts
from litelvlm.pipeline.report.shards import ShardTable, mean_mfu, timeline, usage

_MEASURED, _MODELLED, _EXTRAPOLATED = "measured", "modelled", "extrapolated"
_STATES = {
    "done": ("finished", "good"),
    "failure_rate_exceeded": ("too many records failed", "bad"),
    "crashed": ("last session crashed", "bad"),
    "bad_usage": ("last session ended in a usage error", "bad"),
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """An answer: a name, a figure, where the figure is from, and what qualifies it."""

    name: str
    value: str
    tag: str | None = None
    lines: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything a report is made of, besides its pictures."""

    run: RunSummary | None  # None while no session has ended
    config: RunConfig
    table: ShardTable
    planned_shards: int
    planned_rows: int
    reasons: Reasons
    scores: ScoreFacts
    baseline: BaselineFacts | None
    examples: Examples = field(default_factory=Examples)

    @property
    def savings(self) -> dict[str, Any]:
        """What pruning saved, measured and modelled, as `run.json` has it."""
        names = ("annotate_s", "gpu_s", "held_s", "baseline_s", "tflop", "unpruned_tflop")
        totals = {name: self.table.total(name) or 0.0 for name in names}
        return savings(totals, self.baseline.summary if self.baseline else None, self.config.gpu_price)

    @property
    def on_gpu(self) -> bool:
        """Whether any shard was annotated on something else than a CPU."""
        return any(device and not device.startswith("cpu") for device in self.table.texts("device"))


def header(facts: Facts) -> dict[str, Any]:
    """State, progress and the sentence that says what the run did."""
    table, rows = facts.table, facts.table.total("rows") or 0
    complete = rows >= facts.planned_rows
    ended = facts.run.state if facts.run else ""
    state, tone = _STATES.get(ended, ("in progress", "plain"))
    if ended == "done" and not complete:
        state, tone = "in progress", "plain"
    devices = sorted({device for device in table.texts("device") if device})
    line = timeline(table, steps=1)
    sentence = f"{words.count(table.total('phrases') or 0)} phrases on {words.count(table.total('images') or 0)} images"
    if line:
        num_actors = len(set(table.texts("actor")))
        sentence += f" in {words.seconds(line.worked_s)}, on {num_actors} actor{'s' if num_actors != 1 else ''}"
        sentence += f" ({', '.join(devices[:3])}{', …' if len(devices) > 3 else ''})" if devices else ""
    return {
        "state": state,
        "tone": tone,
        "sentence": sentence + ".",
        "remark": DEMO_REMARK if facts.config.model.is_demo else None,
        "progress": None if complete else f"{words.count(rows)} of {words.count(facts.planned_rows)} rows are done",
        "started": words.moment(line.started_at) if line else facts.run and facts.run.started_at,
        "ended": words.moment(line.ended_at) if line else facts.run and facts.run.ended_at,
        "resumed": line is not None and bool(line.breaks),
    }


def answers(facts: Facts) -> list[Card]:
    """Cost, saving and quality first; then records, throughput and how busy the devices were."""
    return [_cost(facts), _saved(facts), _quality(facts), _records(facts), _throughput(facts), _busy(facts)]


def _cost(facts: Facts) -> Card:
    table, price = facts.table, facts.config.gpu_price
    gpu_s, phrases = table.total("gpu_s"), table.total("phrases")
    device = "GPU" if facts.on_gpu else "device"
    if gpu_s is None:
        return Card(name="Cost", value=words.NONE, lines=["no shard is done"])
    if price is None:
        return Card(
            name="GPU time held" if facts.on_gpu else "Device time held",
            value=words.hours(gpu_s),
            tag=_MEASURED,
            lines=["start-up and idle included", "no price was given: --gpu-price turns it into a cost"],
        )
    cost = gpu_s / 3600 * price
    compared = usage(table).share("baseline")
    lines = [f"{words.hours(gpu_s)} of {device} time at {words.money(price)} an hour, start-up and idle included"]
    if phrases:
        lines.append(f"{words.money(1000 * cost / phrases)} per 1,000 phrases")
    if compared > 0:
        lines.append(f"{words.money(compared * cost)} of it for the comparison with unpruned")
    return Card(name="Cost", value=words.money(cost), tag=_MEASURED, lines=lines)


def _saved(facts: Facts) -> Card:
    found, saved = facts.baseline, facts.savings
    kept, seen = facts.table.total("retained_tokens"), facts.table.total("visual_tokens")
    notes = [f"{words.percent(kept / seen)} of the visual tokens kept"] if kept is not None and seen else []
    if modelled := saved["modelled"]:
        notes.append(f"{words.percent(1 - 1 / modelled['ratio'])} fewer operations needed ({_MODELLED})")
    if found is None or found.saved_share is None:
        advice = "--baseline-images N annotates N images unpruned as well"
        return Card(name="Saved by pruning", value="not measured", lines=[advice, *notes])
    lines = [f"of the model's time; {words.times(found.summary['measured_speedup'])} as fast end to end"]
    if prefill := found.summary["measured_prefill_speedup"]:
        lines.append(f"{words.times(prefill)} as fast in the prefill alone")
    if measured := saved["measured"]:
        lines.append(_extrapolated(measured))
    return Card(
        name="Saved by pruning" if found.saved_share >= 0 else "Pruning cost time",
        value=words.percent(found.saved_share),
        tag=f"{_MEASURED} on {words.count(found.summary['images'])} images",
        lines=[*lines, *notes],
    )


def _extrapolated(measured: dict[str, Any]) -> str:
    """What the measured speed-up comes to over the whole run."""
    verb = "saved" if measured["saved_gpu_s"] >= 0 else "lost"
    amount = words.hours(abs(measured["saved_gpu_s"]))
    if measured["saved_cost"] is not None:
        amount = f"{words.money(abs(measured['saved_cost']))} ({amount})"
    return f"{amount} {verb} in the whole run ({_EXTRAPOLATED})"


def _quality(facts: Facts) -> Card:
    found = facts.baseline
    mean = found.summary["mean_iou_pruned_vs_unpruned"] if found else None
    if found is None or mean is None:
        return Card(
            name="Quality kept", value="not measured", lines=["it is measured together with what pruning saves"]
        )
    lines = ["mean IoU of pruned and unpruned masks", f"{words.percent(found.same_share)} agree at IoU 0.9 or more"]
    if truth := found.summary["truth"]:
        pruned, unpruned = (words.score(truth[way]["giou"]) for way in ("pruned", "unpruned"))
        lines.append(f"gIoU with the truth {pruned}, unpruned {unpruned}")
    tag = f"{_MEASURED} on {words.count(found.summary['phrases'])} phrases"
    return Card(name="Quality kept", value=words.score(mean), tag=tag, lines=lines)


def _records(facts: Facts) -> Card:
    table = facts.table
    total, failed, empty, absent, dropped, ok = (
        table.total(name) or 0 for name in ("phrases", "failed", "empty", "absent", "dropped", "ok")
    )
    of_no_use = f", {words.count(absent)} absent" if absent else ""
    of_no_use += f", {words.count(dropped)} dropped" if dropped else ""
    return Card(
        name="Records with a mask",
        value=words.percent(ok / total) if total else words.NONE,
        lines=[
            f"{words.count(ok)} ok, {words.count(empty)} empty, {words.count(failed)} failed{of_no_use}",
            f"{words.percent(failed / total) if total else words.NONE} failed; "
            f"{words.percent(facts.config.max_failure_rate)} are allowed",
        ],
    )


def _throughput(facts: Facts) -> Card:
    line = timeline(facts.table, steps=1)
    if line is None:
        return Card(name="Throughput", value=words.NONE, lines=["no shard is done"])
    images, phrases = line.images_per_s[0], line.phrases_per_s[0]
    return Card(
        name="Throughput",
        value=f"{words.short(phrases)} phrases/s",
        tag=_MEASURED,
        lines=[f"{words.short(images)} images/s", f"{words.seconds(line.worked_s)} of wall time, pauses left out"],
    )


def _busy(facts: Facts) -> Card:
    used = usage(facts.table)
    mfu = mean_mfu(facts.table)
    lines = [
        f"{words.percent(used.share('startup'))} start-up, {words.percent(used.share('idle'))} idle, "
        f"{words.percent(used.share('host'))} waiting for the host"
    ]
    if mfu is not None:
        lines.append(f"MFU {words.percent(mfu)}: {_MODELLED} operations over measured time")
    name = "GPU busy" if facts.on_gpu else "Device busy"
    return Card(name=name, value=words.percent(used.busy_share), tag=_MEASURED, lines=lines)
