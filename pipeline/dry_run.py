"""`--dry-run`: what a run would do, found from footers and markers alone. Writes nothing, starts nothing."""

from __future__ import annotations

from litelvlm.pipeline.config import RunConfig, describe_differences
from litelvlm.pipeline.measure.run_summary import find_summary
from litelvlm.pipeline.ontology_run import check_ontology
from litelvlm.pipeline.review.decided import leave_decided
from litelvlm.pipeline.shards.claim import find_run
from litelvlm.pipeline.shards.manifest import RunPlan, make_plan
from litelvlm.pipeline.shards.markers import done_shards
from litelvlm.pipeline.stages.choose_engine import choose_engine, fitted
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.storage.store import Storage


def describe_run(config: RunConfig, *, engine: Engine | None = None) -> str:
    """Mapping, counts, shards and estimated cost, a line each.

    Raises:
        ValueError, FileNotFoundError: as a run would.
    """
    if engine is None:
        config = fitted(config)
        engine = choose_engine(config)
    plan, _ = leave_decided(make_plan(config, revision=engine.revision()), config)
    remarks = [*plan.remarks, *engine.check(), *check_ontology(config, plan, engine)]
    engine.check_weights()
    storage = Storage(config.output, config.storage_options)
    state, num_done = _state(storage, plan, config)
    lines = {
        "columns": plan.mapping.describe(),
        "files": plan.num_files,
        "input rows": plan.num_input_rows,
        "rows to annotate": plan.num_rows,
        "shards": f"{len(plan.shards)} of at most {max(shard.num_rows for shard in plan.shards)} rows, {num_done} done",
        "model": f"{config.model.model} (revision {plan.facts['model_revision']})",
        "pruning": f"rule {config.model.rule}, {config.model.tokens_in_words} visual tokens kept per prompt",
        "output": f"{storage.root} ({state})",
        "fingerprint": plan.fingerprint,
        **_estimate(storage, plan, config),
        **({"note": "; ".join(remarks)} if remarks else {}),
    }
    width = max(len(name) for name in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def _state(storage: Storage, plan: RunPlan, config: RunConfig) -> tuple[str, int]:
    existing = find_run(storage)
    if existing is None:
        return "new", 0
    if config.overwrite:
        return "holds a run, which --overwrite would remove", 0
    if existing.fingerprint == plan.fingerprint:
        return "holds this run, which would resume", len(done_shards(storage))
    differences = "; ".join(describe_differences(existing.facts, plan.facts))
    return f"holds a run with other settings, so this one would be refused: {differences}", 0


def _estimate(storage: Storage, plan: RunPlan, config: RunConfig) -> dict[str, str]:
    """Time and cost from the rates measured by an earlier session in this output; unknown without one."""
    summary = find_summary(storage)
    totals = (summary.totals if summary else None) or {}
    images, gpu_s = totals.get("images"), totals.get("gpu_s")
    if not images or not gpu_s:
        unknown = "unknown; run with --limit first: run.json then holds measured rates"
        return {"estimated device hours": unknown, "estimated cost": unknown}
    hours = gpu_s / images * plan.num_rows / 3600
    price = config.gpu_price
    cost = f"{hours * price:.2f}" if price is not None else "unknown without --gpu-price"
    return {"estimated device hours": f"{hours:.3f} (at the rate measured here)", "estimated cost": cost}
