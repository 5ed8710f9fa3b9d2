"""What is measured on, and what it reaches at its best."""

from __future__ import annotations

import os
from typing import Any

import torch

from benchmarks.gpu.session import Findings, Session
from benchmarks.hardware import describe
from benchmarks.peaks import copy_bytes_per_s


def run(session: Session, found: Findings) -> None:
    """Versions, the device, its matrix peak and its copy bandwidth."""
    found.facts |= describe() | _device(session.device)
    peak = session.peak
    found.facts[f"matrix peak, TFLOP/s ({peak.dtype}, {peak.side} cubed)"] = round(peak.flop_per_s / 1e12, 3)
    found.facts["copy, GB/s read and written"] = round(copy_bytes_per_s(session.device) / 1e9, 1)


def _device(device: torch.device) -> dict[str, Any]:
    import transformers

    facts: dict[str, Any] = {"transformers": transformers.__version__, "cuda": torch.version.cuda or "none"}
    facts["usable cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["multiprocessors"] = properties.multi_processor_count
        facts["memory, GB"] = round(properties.total_memory / 1e9, 1)
        facts["compute capability"] = f"{properties.major}.{properties.minor}"
    return facts
