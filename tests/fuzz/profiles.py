"""How long the fuzz tests look: a few seconds each, the same cases every time, or with ``HYPOTHESIS_PROFILE=deep``
thousands of new cases."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
}
settings.register_profile("deep", max_examples=int(os.environ.get("FUZZ_EXAMPLES", "5000")), **_COMMON)


def fuzz(max_examples: int) -> settings:
    """Settings of a fuzz test: `max_examples` fixed cases in the ordinary suite, many and other ones in the profile
    ``deep``."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "deep":
        return settings(settings.get_profile("deep"))
    return settings(max_examples=max_examples, derandomize=True, database=None, **_COMMON)
