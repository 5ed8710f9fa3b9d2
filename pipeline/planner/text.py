"""A plan in words and as JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from litelvlm.pipeline.planner.cost_model import HELD_STAGES, UNITS, CostModel
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.plans import Plan, Planner
from litelvlm.pipeline.planner.prices import FigureSource

_COLUMNS = ("setting", "basis", "device", "number", "hours", "cost", "ms/image", "cores/GPU", "quality")


def describe(job: Job, forecaster: Forecaster, planner: Planner, plans: Sequence[Plan]) -> str:
    """Everything a person needs to decide: the plans, what they rest on, and what is not known."""
    deadline = planner.terms.deadline_hours
    head = (
        f"{job.images:,} images with {job.phrases_per_image:g} phrases each, "
        f"{'on one instance' if deadline is None else f'within {deadline:g} h'}, "
        f"on-demand prices in {planner.prices.currency}"
    )
    parts = [head, "\n".join(_table(plans)), "\n".join(_model_lines(forecaster, planner))]
    warnings = list(_grouped_warnings(plans))
    if warnings:
        parts.append("\n".join(["mind:", *(f"  {line}" for line in warnings)]))
    parts.append("\n".join(_price_lines(planner, plans)))
    return "\n\n".join(parts)


def as_json(job: Job, forecaster: Forecaster, planner: Planner, plans: Sequence[Plan]) -> dict[str, Any]:
    """The same, and more of it, as JSON values."""
    return {
        "job": dataclasses.asdict(job),
        "terms": dataclasses.asdict(planner.terms),
        "measured_on": planner.device,
        "runs": [run.root for run in forecaster.runs],
        "models": {layout: dataclasses.asdict(model) for layout, model in forecaster.models.items()},
        "plans": [_plan_json(plan) for plan in plans],
        "currency": planner.prices.currency,
        "prices": {
            name: dataclasses.asdict(source) | {"date": str(source.date)} for name, source in _sources(planner, plans)
        },
    }


def _table(plans: Sequence[Plan]) -> list[str]:
    rows = [_COLUMNS, *(_row(plan) for plan in plans)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(plan: Plan) -> tuple[str, ...]:
    quality = ", ".join(f"{item.kind} {item.value:.3f}" for item in plan.forecast.quality) or "not measured"
    return (
        str(plan.forecast.setting),
        plan.forecast.basis + (", extrapolated" if plan.forecast.extrapolated else ""),
        plan.offer.name,
        f"{plan.gpus}",
        f"{plan.hours:.2f}" + ("" if plan.possible else " (late)"),
        f"{plan.cost:,.2f}",
        f"{plan.device_s_per_image * 1000:.3g}",
        f"{plan.cpu_cores_per_gpu:.1f}",
        quality,
    )


def _model_lines(forecaster: Forecaster, planner: Planner) -> Iterable[str]:
    yield f"fitted to {len(forecaster.runs)} run(s) on {planner.device}, seconds of one device:"
    for layout, model in forecaster.models.items():
        error = model.error
        yield (
            f"  {layout}: {error.num_shards} shards, error {error.per_shard:.1%} a shard, {error.total:+.1%} in all; "
            f"an actor starts in {model.start_s:.1f} s"
        )
        for term, seconds in _by_term(model).items():
            yield f"    {seconds * 1000:10.3f} ms {UNITS[term]}"
        decode = model.stages["decode_cpu"]
        yield (
            f"    {decode['image'] * 1000:10.3f} ms {UNITS['image']} and {decode['megapixel'] * 1000:.3f} ms "
            f"{UNITS['megapixel']} on the cores that decode"
        )


def _by_term(model: CostModel) -> dict[str, float]:
    """Device seconds of every term over all stages."""
    sums: dict[str, float] = {}
    for stage in HELD_STAGES:
        for term, value in model.stages[stage].items():
            sums[term] = sums.get(term, 0.0) + value
    return {term: value for term, value in sums.items() if value > 0}


def _grouped_warnings(plans: Sequence[Plan]) -> Iterable[str]:
    """Every warning once, with the plans that it is about unless it is about all."""
    found: dict[str, list[Plan]] = {}
    for plan in plans:
        for warning in dict.fromkeys(plan.warnings):
            found.setdefault(warning, []).append(plan)
    for warning, about in found.items():
        settings = {str(plan.forecast.setting) for plan in about}
        offers = {plan.offer.name for plan in about}
        if len(about) == len(plans) or all(name in warning for name in offers):
            yield f"- {warning}"
        elif len(settings) < len({str(plan.forecast.setting) for plan in plans}):
            yield f"- {'; '.join(sorted(settings))}: {warning}"
        else:
            yield f"- {', '.join(sorted(offers))}: {warning}"


def _price_lines(planner: Planner, plans: Sequence[Plan]) -> Iterable[str]:
    yield (
        f"hours hold {planner.terms.node_start_s:.0f} s until nodes are there and {planner.outside_s:.0f} s of what "
        "the runs did outside their actors; merging, a part of that, grows with the run"
    )
    yield "prices from:"
    yield from (f"  {source.date}  {source.what}" for _, source in _sources(planner, plans))


def _sources(planner: Planner, plans: Sequence[Plan]) -> list[tuple[str, FigureSource]]:
    names = dict.fromkeys(name for plan in plans for name in plan.offer.sources)
    return [(name, planner.prices.sources[name]) for name in names]


def _plan_json(plan: Plan) -> dict[str, Any]:
    """A plan's own figures, and what stands behind them of its forecast and its offer."""
    values = dataclasses.asdict(plan)
    forecast, offer = values.pop("forecast"), values.pop("offer")
    names = ("setting", "basis", "extrapolated", "quality", "start_s", "load")
    return (
        values
        | {name: forecast[name] for name in names}
        | {
            "stage_s_on_measured_device": forecast["stage_s"],
            "gpu": offer["name"],
            "instance": offer["instance"],
            "vcpus_per_gpu": plan.offer.vcpus_per_gpu,
        }
    )
