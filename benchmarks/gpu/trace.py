"""Where the device's time goes: kernels by stage, from one call under torch's profiler."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.contest import pruning_to, run_engine
from benchmarks.gpu.release import RULE
from benchmarks.gpu.session import Findings, Session
from benchmarks.timing import wait_for
from litelvlm import Annotator

PHRASES, LAYOUT = 3, "separate"
_SHOWN = 12  # kernels of a stage
_NAME_CHARS = 90
_NO_STAGE = "no stage"
_PREFIX = "stage "


def run(session: Session, found: Findings) -> None:
    """Traces a warm call and adds up its kernels; on a CPU its operators."""
    annotator = session.contest.annotator
    pruning = pruning_to(annotator, RULE, session.size.budgets[0])
    run_engine(annotator, session.records(PHRASES, 0), pruning, LAYOUT)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if session.device.type == "cuda" else [])]
    wait_for(session.device)
    with named_stages(annotator), profile(activities=activities) as traced:
        run_engine(annotator, session.records(PHRASES, 1), pruning, LAYOUT)
        wait_for(session.device)
    spent = by_stage(traced.events(), on_device=session.device.type == "cuda")
    images = session.size.num_images
    total = sum(ms for kernels in spent.values() for ms, _ in kernels.values())
    found.facts[f"device ms an image, {PHRASES} phrases, {LAYOUT}, {pruning.num_retain_tokens} tokens"] = round(
        total / images, 3
    )
    for stage, kernels in sorted(spent.items(), key=lambda item: -sum(ms for ms, _ in item[1].values())):
        found.tables[f"{stage}: {sum(ms for ms, _ in kernels.values()) / images:.3f} ms an image"] = [
            {"kernel": name[:_NAME_CHARS], "ms_an_image": round(ms / images, 4), "calls": calls,
             "share": round(ms / total, 4)}
            for name, (ms, calls) in sorted(kernels.items(), key=lambda item: -item[1][0])[:_SHOWN]
        ]  # fmt: skip


@contextlib.contextmanager
def named_stages(annotator: Annotator) -> Iterator[None]:
    """The engine's stages have names in a trace that is taken meanwhile."""
    clock: Any = annotator._clock
    timed = clock.stage

    @contextlib.contextmanager
    def named(stage: str) -> Iterator[None]:
        with record_function(_PREFIX + stage), timed(stage):
            yield

    clock.stage = named
    try:
        yield
    finally:
        del clock.stage


def by_stage(events: Iterable[Any], *, on_device: bool) -> dict[str, dict[str, tuple[float, int]]]:
    """Milliseconds and calls of each kernel by stage.

    Args:
        events: of torch's profiler.
        on_device: kernels are added up, each to the stage whose range on its stream it lies in; else operators, each to
            the stage that called it.
    """
    found: dict[str, dict[str, tuple[float, int]]] = defaultdict(dict)
    listed = list(events)
    pairs = _kernels(listed) if on_device else _operators(listed)
    for stage, name, ms in pairs:
        before, calls = found[stage].get(name, (0.0, 0))
        found[stage][name] = (before + ms, calls + 1)
    return dict(found)


def _kernels(events: list[Any]) -> Iterator[tuple[str, str, float]]:
    on_device = [event for event in events if event.device_type == DeviceType.CUDA]
    ranges = [event for event in on_device if event.name.startswith(_PREFIX)]
    for event in on_device:
        if event.name.startswith(_PREFIX):
            continue
        start = event.time_range.start
        own = [
            one
            for one in ranges
            if _stream(one) == _stream(event) and one.time_range.start <= start < one.time_range.end
        ]
        # The shortest range: what lies within another is nearer.
        nearest = min(own, key=lambda one: one.time_range.end - one.time_range.start, default=None)
        stage = nearest.name.removeprefix(_PREFIX) if nearest else _NO_STAGE
        yield stage, event.name, (event.time_range.end - start) / 1e3


def _operators(events: list[Any]) -> Iterator[tuple[str, str, float]]:
    for event in events:
        if event.device_type == DeviceType.CPU and not event.name.startswith(_PREFIX):
            yield _stage_above(event), event.name, event.self_cpu_time_total / 1e3


def _stage_above(event: Any) -> str:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith(_PREFIX):
            return parent.name.removeprefix(_PREFIX)
        parent = parent.cpu_parent
    return _NO_STAGE


def _stream(event: Any) -> int:
    return int(getattr(event, "device_resource_id", 0))
