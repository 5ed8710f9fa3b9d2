"""Float8: how far its masks agree on trained weights, and how fast it is at full size."""

from __future__ import annotations

import functools
from dataclasses import asdict

from benchmarks.contest import pruning_to, run_engine
from benchmarks.full_size import Contest, random_annotator
from benchmarks.gpu.release import RULE, expected_seconds
from benchmarks.gpu.session import Findings, Session, Skipped
from benchmarks.precision import SCENES, float8_agreement
from benchmarks.timing import median_wall_s, take_turns
from litelvlm import Annotator
from litelvlm.precision import check_float8

SETTINGS = ((3, "separate"), (1, "separate"), (8, "shared"))
_CPU_SCENES = 2
_SPEED_S = 45.0
_ROUNDS = 3


def run(session: Session, found: Findings) -> None:
    """Agreement on the shipped checkpoint, then speed in turns; on a CPU the first alone, simulated."""
    on_gpu = session.device.type == "cuda"
    if on_gpu:
        try:
            check_float8(session.device)
        except ValueError as reason:
            raise Skipped(str(reason)) from reason
    agreement = float8_agreement(str(session.device), SCENES if on_gpu else _CPU_SCENES)
    found.rows("masks against the wider precision, on the shipped checkpoint").append(asdict(agreement))
    if not on_gpu:
        found.notes.append("Float8 is simulated in float32 on a CPU; its speed needs a GPU.")
        return
    session.write()
    session.require(_SPEED_S)
    with random_annotator(session.size, session.device, "float8") as narrow:
        measure_speed(session, found, narrow)


def measure_speed(session: Session, found: Findings, narrow: Annotator) -> None:
    """Phrases a second of both precisions, a row a setting.

    Args:
        session: whose model is the wide one.
        found: gets the rows.
        narrow: the same sizes in float8.
    """
    wide, budget = session.contest, session.size.budgets[0]
    pruning = pruning_to(wide.annotator, RULE, budget)
    others = Contest(annotator=narrow, size=session.size)
    for num_phrases, layout in SETTINGS:
        wide_s = expected_seconds(session, budget, num_phrases, [layout], 0)
        session.require(2 * wide_s)
        contestants = {
            name: functools.partial(_annotate, contest, num_phrases, layout)
            for name, contest in (("bfloat16", wide), ("float8", others))
        }
        timings = take_turns(contestants, session.device, _ROUNDS)
        phrases = num_phrases * session.size.num_images
        rates = {name: phrases / median_wall_s(one) for name, one in timings.items()}
        found.rows("phrases a second").append({
            "phrases_per_image": num_phrases, "tokens": pruning.num_retain_tokens, "layout": layout,
            **{name: round(rate, 2) for name, rate in rates.items()},
            "speed_up": round(rates["float8"] / rates["bfloat16"], 3),
        })  # fmt: skip
        session.write()


def _annotate(contest: Contest, num_phrases: int, layout: str, number: int) -> None:
    pruning = pruning_to(contest.annotator, RULE, contest.size.budgets[0])
    run_engine(contest.annotator, contest.records(num_phrases, number), pruning, layout)
