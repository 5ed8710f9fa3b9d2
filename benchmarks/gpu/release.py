"""The engine against the release's loop, one record at a time on the same weights, and the matrix of settings."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from benchmarks.accounting import count_call
from benchmarks.contest import ROUNDS, measure, pruning_speedups, pruning_to
from benchmarks.gpu.session import Findings, Session

RULE = "paper"
PHRASES = (1, 3, 8)
MAIN_LAYOUTS = ("separate", "shared")
TABLE = "phrases a second"
_USUAL_SHARE = 0.2  # of the peak, to know beforehand what a setting takes at most: the release's loop is the slowest
_COLUMNS = ("phrases_per_image", "tokens", "layout")


def run(session: Session, found: Findings) -> None:
    """The first budgets of the size at 1, 3 and 8 phrases, in both layouts without rounds."""
    found.notes.append(describe_yardstick(session))
    for budget in session.size.budgets[:2]:
        run_budget(session, found, budget, MAIN_LAYOUTS, with_loop=True)


def run_rest(session: Session, found: Findings) -> None:
    """The other budgets, then rounds, and what pruning gains against what its operations predict."""
    before = session.findings["release"].tables if "release" in session.findings else {}
    main: list[dict[str, Any]] = before.get(TABLE, [])
    done = {row["tokens"] for row in main}
    try:
        for budget in session.size.budgets:
            if budget not in done:
                run_budget(session, found, budget, MAIN_LAYOUTS, with_loop=False)
        run_budget(session, found, session.size.budgets[0], ("rounds",), with_loop=False)
    finally:
        speedups = pruning_speedups([*main, *found.tables.get(TABLE, [])])
        if speedups:
            found.tables["pruning against all tokens, measured and predicted by needed operations"] = speedups


def run_budget(session: Session, found: Findings, budget: int, layouts: Sequence[str], *, with_loop: bool) -> None:
    """Adds a row for each number of phrases and layout, and their stages; written down row by row.

    Raises:
        OutOfTime: ahead of the first setting that would not end in time.
    """
    annotator, pruning = session.contest.annotator, pruning_to(session.contest.annotator, RULE, budget)
    num_loop_images = session.size.num_loop_images if with_loop else 0
    for num_phrases in PHRASES:
        session.require(expected_seconds(session, budget, num_phrases, layouts, num_loop_images))
        rows = measure(
            annotator,
            functools.partial(session.records, num_phrases),
            pruning,
            layouts,
            num_loop_images=num_loop_images,
            peak_flop_per_s=session.peak.flop_per_s,
        )
        stages = [row.pop("stage_ms_per_image") for row in rows]
        names = [{name: row[name] for name in _COLUMNS} for row in rows]
        found.rows(TABLE).extend(rows)
        found.rows("stages, ms an image").extend(one | two for one, two in zip(names, stages, strict=True))
        print(*(line(row) for row in rows), sep="\n", flush=True)
        session.write()


def expected_seconds(
    session: Session, budget: int, num_phrases: int, layouts: Sequence[str], num_loop_images: int
) -> float:
    """What a setting takes at most on a device that reaches a fifth of its peak."""
    annotator, records = session.contest.annotator, session.records(num_phrases, 0)
    pruning = pruning_to(annotator, RULE, budget)
    work = [count_call(annotator, records, pruning, layout).needed for layout in layouts]
    alone = count_call(annotator, records[:1], pruning, "separate").needed
    flop = sum(work) + 2 * num_phrases * num_loop_images * alone
    return (ROUNDS + 1) * flop / (_USUAL_SHARE * session.peak.flop_per_s)


def describe_yardstick(session: Session) -> str:
    """How the release's loop runs its SAM attention here."""
    encoder: Any = session.contest.annotator.model.grounding_encoder.image_encoder
    attention, kind = type(encoder.layers[0].attn).__name__, encoder.config._attn_implementation
    ways = {
        "SamVisionSdpaAttention": "as one fused call with its relative positions as a bias matrix",
        "SamVisionAttention": "as the release writes it: logits in full, relative positions added, softmax, product",
    }
    return (
        f"The release's loop takes one record a call through every stage; its SAM attention runs "
        f"{ways.get(attention, attention)} (transformers' {attention}, {kind})."
    )


def line(row: dict[str, Any]) -> str:
    """A row, for people who watch."""
    times = row.get("against_a_record_at_a_time")
    against = "" if times is None else f", {times}x a record at a time"
    return (
        f"{row['phrases_per_image']} phrases an image, {row['tokens']} tokens, {row['layout']}: "
        f"{row['phrases_per_s']} phrases/s, MFU {row['mfu_needed']:.1%} needed, "
        f"{row['mfu_executed']:.1%} executed{against}"
    )
