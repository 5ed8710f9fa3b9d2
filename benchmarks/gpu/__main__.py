"""Everything worth measuring on a CUDA device, in one process, best first, within a time.

    python -m benchmarks.gpu --output DIR --seconds 480
    python -m benchmarks.gpu --output DIR --size small --device cpu      # the program itself, in seconds

Needs PyTorch, transformers, open_clip and pycocotools, no network and no installation. Models have random weights and
the published sizes. Each step stands alone: one that fails is written down and the next one runs; none begins that
would not end in time. `results.json` and `results.md` are there after every step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.full_size import SIZES
from benchmarks.gpu import environment, float8, formulations, host, marked_tests, masks, parity, release, sam, trace
from benchmarks.gpu.session import Findings, Session, Step
from litelvlm.models.registry import MODELS


def load(session: Session, found: Findings) -> None:
    """Makes the model that the steps behind this one share."""
    annotator = session.contest.annotator
    found.facts["parameters, millions"] = round(sum(param.numel() for param in annotator.model.parameters()) / 1e6, 1)
    found.facts["micro-batches"] = ", ".join(f"{stage} {limit}" for stage, limit in annotator.batch_limits.items())
    if session.device.type == "cuda":
        found.facts["memory, GB"] = round(torch.cuda.memory_allocated() / 1e9, 1)


STEPS = (
    Step(name="environment", title="Environment and peaks", run=environment.run, seconds=5),
    Step(name="parity", title="Recorded cases of the release", run=parity.run, seconds=15),
    Step(name="tests", title="Tests marked gpu", run=marked_tests.run, seconds=20),
    Step(name="model", title="The model with random weights", run=load, seconds=15),
    Step(name="release", title="Engine against the release's loop", run=release.run, seconds=15),
    Step(name="formulations", title="Races of formulations", run=formulations.run, seconds=5),
    Step(name="float8", title="Float8", run=float8.run, seconds=20),
    Step(name="matrix", title="Other budgets, rounds, and what pruning gains", run=release.run_rest, seconds=10),
    Step(name="trace", title="Kernels by stage", run=trace.run, seconds=15),
    Step(name="host", title="Cores that one device needs", run=host.run, seconds=10),
    Step(name="masks", title="Run lengths of blobs", run=masks.run, seconds=5),
    Step(name="sam", title="SAM's encoder in parts", run=sam.run, seconds=10),
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the steps. Returns 1 if any failed, 2 where there is no such device."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: no CUDA device is here", file=sys.stderr)
        return 2
    session = Session(options.size, device, options.output, options.seconds, model=MODELS[options.model])
    steps = [step for step in STEPS if options.only is None or step.name in options.only]
    return 0 if session.run(steps) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where results.json and .md go")
    parser.add_argument("--seconds", type=float, default=480, help="no step begins that would end later (480)")
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--model", choices=sorted(MODELS), default="glamm", help="whose sizes and prompts (glamm)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], metavar="STEP",
                        help=", ".join(step.name for step in STEPS))  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
