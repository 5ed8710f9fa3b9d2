"""The engine and the release's loop on the same weights and records, in turns."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.accounting import Operations, count_call
from benchmarks.release_loop import ReleaseLoop
from benchmarks.timing import Timing, median_device_s, median_wall_s, take_turns
from litelvlm import AnnotationRequest, AnnotationResult, Annotator, PruningConfig
from litelvlm.pipeline.masks import encode_answers
from litelvlm.preprocess import PreparedImage

Records = list[tuple[PreparedImage, list[str]]]
RECORD_LOOP, IMAGE_LOOP = "a record at a time", "an image at a time"
ROUNDS = 3
_NUMBERS = itertools.count()  # of what was drawn in this process


def pruning_to(annotator: Annotator, rule: str, budget: int) -> PruningConfig:
    """The rule with a budget; nothing is pruned where that holds all visual tokens."""
    return PruningConfig(rule="none" if budget >= annotator.num_visual_tokens else rule, num_retain_tokens=budget)


def run_engine(annotator: Annotator, records: Records, pruning: PruningConfig, layout: str) -> list[AnnotationResult]:
    """Everything from prepared images to COCO's run lengths, in one call. Returns the results."""
    requests = [AnnotationRequest(image=image, phrases=phrases) for image, phrases in records]
    results = annotator.annotate(requests, pruning, layout, keep_logits=False)
    for result in results:
        list(encode_answers(result))
    return results


def run_loop(loop: ReleaseLoop, records: Records, pruning: PruningConfig) -> None:
    """The same, one call of the release's loop for each record."""
    for image, phrases in records:
        loop.annotate(image, phrases, pruning)


def one_by_one(records: Records) -> Records:
    """A record for each phrase."""
    return [(image, [phrase]) for image, phrases in records for phrase in phrases]


def measure(
    annotator: Annotator,
    draw: Callable[[int], Records],
    pruning: PruningConfig,
    layouts: Sequence[str],
    *,
    num_loop_images: int,
    peak_flop_per_s: float | None,
    rounds: int = ROUNDS,
) -> list[dict[str, Any]]:
    """A row for each layout: phrases a second against both loops, medians of rounds that take turns.

    Args:
        annotator: the engine, whose weights the loops share.
        draw: gives records by a number that no other call is given: as many images and phrases each time, other texts,
            so that no one finds what another has embedded, at this setting or at one before.
        pruning: for all of them.
        layouts: of the engine's prompts.
        num_loop_images: how many images of a round the loops take; 0 leaves them out.
        peak_flop_per_s: what the device reaches in matrix products; None where that is not known.
        rounds: that count; one more warms up.
    """
    device, loop = annotator.device, ReleaseLoop(annotator)
    drawn = [[draw(next(_NUMBERS)) for _ in layouts] for _ in range(rounds + 1)]

    def run(place: int, number: int) -> None:
        run_engine(annotator, drawn[number][place], pruning, layouts[place])

    watched = {layout: _Watched(annotator, functools.partial(run, place)) for place, layout in enumerate(layouts)}
    contestants: dict[str, Callable[[int], Any]] = dict(watched)
    few = [records[0][:num_loop_images] for records in drawn]
    if num_loop_images:
        contestants[IMAGE_LOOP] = lambda number: run_loop(loop, few[number], pruning)
        contestants[RECORD_LOOP] = lambda number: run_loop(loop, one_by_one(few[number]), pruning)
    timings = take_turns(contestants, device, rounds)
    last = drawn[-1]
    phrases, loop_phrases = (sum(len(asked) for _, asked in records) for records in (last[0], few[-1]))
    rates = {name: phrases / median_wall_s(timings[name]) for name in layouts}
    loops = {name: loop_phrases / median_wall_s(timings[name]) for name in timings if name not in layouts}
    work = [count_call(annotator, records, pruning, layout) for records, layout in zip(last, layouts, strict=True)]
    return [
        _row(pruning, layout, phrases, len(records), timings[layout], operations, peak_flop_per_s)
        | {f"against_{name.replace(' ', '_')}": round(rates[layout] / rate, 2) for name, rate in loops.items()}
        | watched[layout].figures(len(records))
        for layout, records, operations in zip(layouts, last, work, strict=True)
    ]


class _Watched:
    """A call to the engine whose stages and memory are noted, the first one's not."""

    def __init__(self, annotator: Annotator, run: Callable[[int], Any]) -> None:
        self._annotator, self._run = annotator, run
        self._stages: dict[str, list[float]] = {}
        self._peak_bytes = 0

    def __call__(self, number: int) -> None:
        on_gpu, before = self._annotator.device.type == "cuda", self._annotator.stage_seconds
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self._run(number)
        if not number:
            return
        for stage, seconds in self._annotator.stage_seconds.items():
            self._stages.setdefault(stage, []).append(seconds - before[stage])
        self._peak_bytes = max(self._peak_bytes, torch.cuda.max_memory_allocated() if on_gpu else 0)

    def figures(self, num_images: int) -> dict[str, Any]:
        """Milliseconds an image of each stage, medians, and the most memory."""
        stages = {name: round(1e3 * statistics.median(s) / num_images, 3) for name, s in self._stages.items()}
        return {"stage_ms_per_image": stages, "peak_memory_gb": round(self._peak_bytes / 1e9, 2) or None}


def _row(
    pruning: PruningConfig,
    layout: str,
    num_phrases: int,
    num_images: int,
    timings: Sequence[Timing],
    work: Operations,
    peak_flop_per_s: float | None,
) -> dict[str, Any]:
    wall_s, device_s = median_wall_s(timings), median_device_s(timings)
    return {
        "phrases_per_image": num_phrases // num_images,
        "tokens": pruning.num_retain_tokens,
        "layout": layout,
        "phrases_per_s": round(num_phrases / wall_s, 2),
        "spread": [round(num_phrases / pick(one.wall_s for one in timings), 2) for pick in (max, min)],
        "images_per_s": round(num_images / wall_s, 2),
        "ms_per_image": round(1e3 * wall_s / num_images, 3),
        "device_ms_per_image": None if device_s is None else round(1e3 * device_s / num_images, 3),
        "needed_gflop_per_phrase": round(work.needed / num_phrases / 1e9, 3),
        "padding_waste": round(work.waste, 5),
        "mfu_needed": utilisation(work.needed / wall_s, peak_flop_per_s),
        "mfu_executed": utilisation(work.executed / wall_s, peak_flop_per_s),
    }


def utilisation(flop_per_s: float, peak_flop_per_s: float | None) -> float | None:
    """Share of the peak; None where that is not known."""
    return round(flop_per_s / peak_flop_per_s, 4) if peak_flop_per_s else None


def pruning_speedups(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every budget, how much faster it is than all tokens, and how much it should be by needed operations."""
    most = max((row["tokens"] for row in rows), default=0)
    of_all = {(row["phrases_per_image"], row["layout"]): row for row in rows if row["tokens"] == most}
    found = []
    for row in rows:
        unpruned = of_all.get((row["phrases_per_image"], row["layout"]))
        if row["tokens"] == most or unpruned is None:
            continue
        measured = row["phrases_per_s"] / unpruned["phrases_per_s"]
        predicted = unpruned["needed_gflop_per_phrase"] / row["needed_gflop_per_phrase"]
        found.append({
            **{key: row[key] for key in ("phrases_per_image", "tokens", "layout")},
            "measured": round(measured, 2), "predicted": round(predicted, 2), "share": round(measured / predicted, 3),
        })  # fmt: skip
    return found
