"""CPUs that this process may use, which in a container or under a batch system are fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of control groups, version 2


def num_usable() -> int:
    """At least one: by the process's affinity, and by the quota of its control group."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(found, _quota(_QUOTA) or found))


def _quota(path: Path) -> int | None:
    """CPUs' worth of time, rounded up; None where there is no limit."""
    try:
        quota, period = path.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # "max", another system
        return None
