"""A finished run, and what is exported of it, made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from litelvlm.pipeline.export.config import ExportConfig
from litelvlm.pipeline.export.run import export
from tests.pipeline.export.masked_runs import masked_run


class Exported(NamedTuple):
    """What came of an export."""

    output: Path
    counts: Counter[str]
    lines: list[str]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Exports in a format, once with the same settings."""
    done: dict[Any, Exported] = {}

    def make(to: str, **settings: Any) -> Exported:
        key = to, *settings.items()
        if key not in done:
            output, lines = tmp_path_factory.mktemp("exported"), list[str]()
            config = ExportConfig(run=str(run), to=to, output=str(output), **settings)
            done[key] = Exported(output, export(config, lines.append), lines)
        return done[key]

    return make
