"""The sections of a report: facts turned into words, tables and charts for `templates/report.html`.

Plain values throughout; the template escapes them. Only charts are markup, and they escape their own text.
"""

from __future__ import annotations

from typing import Any

from litelvlm.pipeline.report import charts, words
from litelvlm.pipeline.report.answers import Facts
from litelvlm.pipeline.report.shards import (
    DEVICE_PARTS,
    Actor,
    Straggler,
    actors,
    host_seconds,
    phrases_per_device_second,
    stragglers,
    timeline,
    usage,
)
from litelvlm.pipeline.schemas import ONLY_IF_ANY, STATUSES

_SHOWN_ACTORS, _SHOWN_REASONS = 12, 12
_SHOWN_PHRASES, _MAX_PHRASE = 20, 160  # rows of a table, characters of a phrase in it
_PARTS = {
    "startup": "Start-up: loading the model",
    "idle": "Idle: waiting for images",
    "host": "Waiting for the host's own work",
    "clip": "CLIP encoders",
    "prune": "Pruning",
    "llm": "Language model (prefill)",
    "sam": "SAM image encoder",
    "decode_masks": "Mask decoder",
    "masks": "Upsampling, run lengths",
    "other": "Other model work",
    "baseline": "Comparison with unpruned",
}
_HOST_STAGES = {
    "read": "Read Parquet",
    "fetch": "Fetch images",
    "decode": "Decode and resize",
    "wait": "Queued for an actor, no work",
    "encode": "Encode masks",
    "commit": "Commit",
}


def device_section(facts: Facts) -> dict[str, Any]:
    """What the devices' time went to."""
    used = usage(facts.table)
    parts = [charts.BarPart(name=_PARTS[part], css=f"p-{part}", share=used.share(part)) for part in DEVICE_PARTS]
    rows = [
        (charts.swatch(one.css), one.name, words.seconds(used.seconds[part]), words.percent(one.share))
        for part, one in zip(DEVICE_PARTS, parts, strict=True)
        if used.seconds[part] > 0
    ]
    summary = ", ".join(f"{one.name} {words.percent(one.share)}" for one in parts if one.share > 0)
    host = host_seconds(facts.table)
    highest = max((value for stage, value in host.items() if stage != "wait"), default=0.0)
    return {
        "bar": charts.stacked(parts, label=f"Device time by part: {summary}") if used.held_s > 0 else None,
        "rows": rows,
        "held": words.seconds(used.held_s),
        "host": [
            (
                _HOST_STAGES[stage],
                words.seconds(value),
                "" if stage == "wait" else charts.meter(value / highest if highest else 0.0, "c-host"),
            )
            for stage, value in host.items()
        ],
        "decode_cpu": words.seconds(cpu_s) if (cpu_s := facts.table.total("decode_cpu_s")) else None,
    }


def time_section(facts: Facts) -> dict[str, Any] | None:
    """Throughput and busy share over time."""
    line = timeline(facts.table)
    if line is None:
        return None
    ticks = ["start", words.seconds(line.worked_s / 2), words.seconds(line.worked_s)]
    series = [
        charts.Series(name="phrases/s", css="c-accent", values=line.phrases_per_s),
        charts.Series(name="images/s", css="c-second", values=line.images_per_s),
    ]
    busy = [None if value is None else 100 * value for value in line.busy_share]
    known = [value for value in busy if value is not None]
    return {
        "rates": charts.lines(
            series,
            label=f"Phrases and images a second over {words.seconds(line.worked_s)}; at most "
            f"{words.short(max(line.phrases_per_s, key=lambda v: v or 0))} phrases a second",
            ticks=ticks,
            breaks=line.breaks,
        ),
        "legend": [(charts.swatch(one.css), one.name) for one in series],
        "busy": charts.lines(
            [charts.Series(name="busy", css="c-busy", values=busy)],
            label=f"Busy share of the devices over time, between {min(known):.0f} and {max(known):.0f} per cent",
            ticks=ticks,
            breaks=line.breaks,
        )
        if known
        else None,
        "step": words.seconds(line.step_s),
        "pauses": len(line.breaks),
        "cut": words.seconds(line.cut_s),
    }


def shard_section(facts: Facts) -> dict[str, Any]:
    """Throughput by shard, the slow ones, the actors and the tail."""
    spread = phrases_per_device_second(facts.table)
    chart = None
    if spread:
        last = f"shard {words.count(len(facts.table) - 1)}"
        known = [value for value in spread.middle if value is not None]
        chart = charts.band(
            spread.low,
            spread.middle,
            spread.high,
            label=f"Phrases per device second by shard; medians from {words.short(min(known))} to "
            f"{words.short(max(known))}",
            ticks=["shard 0", last] if len(facts.table) > 1 else ["shard 0", ""],
        )
    slow, num_slow = stragglers(facts.table)
    everyone = actors(facts.table)
    ends = [actor.ended_at for actor in everyone]
    return {
        "chart": chart,
        "per_step": spread.shards_per_step if spread else 1,
        "slow": [_straggler_row(one) for one in slow],
        "num_slow": words.count(num_slow),
        "num_shards": words.count(len(facts.table)),
        "actors": [_actor_row(actor) for actor in everyone[:_SHOWN_ACTORS]],
        "more_actors": max(len(everyone) - _SHOWN_ACTORS, 0),
        "tail": words.seconds(max(ends) - min(ends)) if ends and max(ends) - min(ends) >= 1 else None,
    }


def _straggler_row(one: Straggler) -> tuple[str, ...]:
    attempts = words.NONE if one.attempts is None else str(one.attempts)
    pixels = words.NONE if one.megapixels_per_image is None else f"{one.megapixels_per_image:.2g}"
    mostly = _PARTS[one.mostly]
    return (
        one.shard_id, f"{one.factor:.1f}×", words.seconds(one.seconds), words.count(one.phrases), mostly, pixels,
        attempts, one.node,
    )  # fmt: skip


def _actor_row(actor: Actor) -> tuple[Any, ...]:
    return (
        actor.name, actor.device, words.count(actor.shards), words.count(actor.phrases), words.seconds(actor.held_s),
        words.percent(actor.busy_share), words.percent(actor.idle_share), charts.meter(actor.busy_share, "c-busy"),
    )  # fmt: skip


def pruning_section(facts: Facts) -> dict[str, Any] | None:
    """The measured comparison with the unpruned model, None without one."""
    found = facts.baseline
    if found is None:
        return None
    mean = words.score(found.summary["mean_iou_pruned_vs_unpruned"])
    histogram = charts.histogram(
        found.bins(),
        label=f"IoU of pruned and unpruned masks of {found.iou.size} phrases; mean {mean}",
        low="0",
        high="1",
    )
    return {
        "rows": _comparison(found.summary),
        "by_shard": _range(found.summary.get("measured_speedup_quantiles_of_shards")),
        "histogram": histogram if found.iou.size else None,
        "images": words.count(found.summary["images"]),
        "phrases": words.count(found.summary["phrases"]),
        "quantiles": [(f"{share:.0%}", words.score(found.quantile(share))) for share in (0.05, 0.25, 0.5)],
    }


def _range(quantiles: dict[str, float] | None) -> tuple[str, str] | None:
    return (words.times(quantiles["0.05"]), words.times(quantiles["0.95"])) if quantiles else None


def _comparison(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, key, show in (
        ("Model time, end to end", "s", words.seconds),
        ("Prefill alone", "llm_s", words.seconds),
        ("Peak device memory", "peak_bytes", words.size),
    ):
        pruned, unpruned = summary[f"pruned_{key}"], summary[f"unpruned_{key}"]
        if pruned and unpruned:
            rows.append((name, show(pruned), show(unpruned), words.times(unpruned / pruned)))
    if truth := summary["truth"]:
        for key, name in (("giou", "gIoU with the truth"), ("ciou", "cIoU with the truth")):
            rows.append((name, *(words.score(truth[way][key]) for way in ("pruned", "unpruned")), ""))
    return rows


def score_section(facts: Facts) -> dict[str, Any]:
    """Records by status, and the scores of those with a mask."""
    scores, total = facts.scores, facts.table.total("phrases") or 0.0
    by_status = {status: facts.table.total(status) or 0.0 for status in STATUSES}
    chart = charts.histogram(
        scores.bins.tolist(),
        label=f"Scores of {scores.scored} masks, from 0 to 1; mean {words.score(scores.mean)}",
        low="0",
        high="1",
    )
    return {
        "statuses": [
            (status, words.count(value), words.percent(value / total if total else None),
             charts.meter(value / total if total else 0.0, f"s-{status}"))
            for status, value in by_status.items()
            if value or status not in ONLY_IF_ANY
        ],
        "chart": chart if scores.scored else None,
        "mean": words.score(scores.mean),
        "scored": words.count(scores.scored),
        "below_half": words.count(scores.below_half),
        "phrases": [
            (words.clipped(one.phrase, _MAX_PHRASE), words.count(one.records), words.count(one.masks),
             words.score(one.mean), charts.meter(one.mean))
            for one in scores.phrases.top(_SHOWN_PHRASES)
        ],
        "unscored": scores.unscored,
        "sampled_from": scores.sampled_from,
    }  # fmt: skip


def failure_section(facts: Facts) -> dict[str, Any]:
    """Failed records by reason, most frequent first."""
    failed = facts.table.total("failed") or 0.0
    top = facts.reasons.counts.most_common(_SHOWN_REASONS)
    counted = sum(facts.reasons.counts.values())
    highest = top[0][1] if top else 1
    return {
        "failed": words.count(failed),
        "any": failed > 0 or bool(top),
        "rows": [
            (reason, words.count(amount), charts.meter(amount / highest, "s-failed"), facts.reasons.examples[reason])
            for reason, amount in top
        ],
        "others": words.count(counted - sum(amount for _, amount in top))
        if len(facts.reasons.counts) > len(top)
        else None,
    }


def settings_section(facts: Facts) -> list[tuple[str, str]]:
    """What was run, for whoever reads the report later."""
    config, run = facts.config, facts.run
    model = config.model
    table, cluster = facts.table, config.cluster
    num_actors = "–".join(map(str, dict.fromkeys(cluster.num_actors)))
    done = f"{words.count(len(table))} of {words.count(facts.planned_shards)} done"
    rows = [
        ("Input", " ".join(config.source.input)),
        ("Model", f"{model.model} (revision {run.model_revision})" if run else model.model),
        ("Pruning", f"rule {model.rule}, {model.tokens_in_words} tokens kept"),
        ("Layout, precision", f"{model.layout}, {model.precision}"),
        ("Actors", f"{num_actors}, {cluster.gpus_per_actor:g} GPU each" if facts.on_gpu else num_actors),
        ("Shards", f"{done}, up to {config.source.shard_images} rows each" if config.source.shard_images else done),
        ("Read, written", f"{words.size(table.total('bytes_read'))}, {words.size(table.total('bytes_written'))}"),
    ]
    if facts.table.total("tflop"):
        rows.append(("Needed operations (modelled)", words.operations(facts.table.total("tflop"))))
    if run:
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))))
    return rows
