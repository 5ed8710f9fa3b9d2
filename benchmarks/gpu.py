"""Every measurement that needs a CUDA device, in one command.

    python -m benchmarks.gpu

Runs one after the other, in processes of their own, so that each has the device's whole memory: the engine at full size
against the release's way, SAM's formulations against each other, float8 against bfloat16, the Ray pipeline against the
bare engine. A step that fails is reported, and the others still run; results go to `benchmarks/results`.
"""

from __future__ import annotations

import subprocess
import sys
import time

import torch

STEPS = {
    "engine": ["benchmarks.engine", "--size", "full", "--device", "cuda"],
    "SAM": ["benchmarks.sam_attention", "--device", "cuda"],
    "float8": ["benchmarks.precision", "--device", "cuda"],
    "pipeline": ["benchmarks.pipeline", "--device", "cuda"],
}
LIMIT_S = 480  # of all steps together


def main() -> int:
    """Run all steps. Returns 1 if any failed, 2 where there is no device."""
    if not torch.cuda.is_available():
        print("benchmarks.gpu: no CUDA device is here", file=sys.stderr)
        return 2
    started, failed = time.monotonic(), []
    for name, arguments in STEPS.items():
        left = LIMIT_S - (time.monotonic() - started)
        print(f"== {name}: python -m {' '.join(arguments)}", flush=True)
        if not succeeds([sys.executable, "-m", *arguments], limit_s=left):
            failed.append(name)
        print(f"== {name}: {time.monotonic() - started:.0f} s so far", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all steps done", flush=True)
    return 1 if failed else 0


def succeeds(command: list[str], *, limit_s: float) -> bool:
    """Whether a command ends well within its time."""
    try:
        return limit_s > 0 and subprocess.run(command, timeout=limit_s, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    sys.exit(main())
