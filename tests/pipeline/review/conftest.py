"""Runs to review: one that is finished, one that goes on, and reviews of them as COCO has them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.review.config import IngestConfig, QueueConfig
from litelvlm.pipeline.review.ingest import ingest
from litelvlm.pipeline.review.queue import make_queue
from litelvlm.pipeline.review.queue_table import Queue
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import EMPTY_PHRASE
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import row

PHRASES = ("the red box", "a dog", "blue thing")
HOSTILE = "=1+1<script>alert(1)</script>"


def rows() -> list[dict[str, Any]]:
    """Thirty images, of which one is asked twice, some are asked for nothing, one is broken and one is hostile."""
    found = [row(number, *PHRASES[: 1 + number % 3]) for number in range(30)]
    found[4]["phrases"] = [EMPTY_PHRASE, "a dog"]
    found[7]["phrases"] = [HOSTILE]
    found[9]["image"] = b"<html>"
    found.append(found[2] | {"phrases": ["a dog"]})  # the image of row 2, far from it
    return found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reviewed-run")
    make_output(root, rows(), shard_images=8)
    return root / "out"


@pytest.fixture(scope="session")
def open_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, two shards done."""
    root = tmp_path_factory.mktemp("open-run")
    make_output(root, rows(), shard_images=8, shards=2, finish=False)
    return root / "out"


@pytest.fixture(scope="session")
def records(run: Path) -> RunRecords:
    return RunRecords(Storage(str(run)))


@pytest.fixture(scope="session")
def coco(run: Path) -> dict[str, Any]:
    """The run's own COCO file."""
    return json.loads((run / "annotations/part-00000.json").read_text())


@pytest.fixture
def reviewed(run: Path, coco: dict[str, Any], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Ingests the run's COCO file after a change to its content. Returns the edits."""

    def review(change: Callable[[dict[str, Any]], None] = lambda content: None, **settings: Any) -> list[Any]:
        content = copy.deepcopy(coco)
        change(content)
        source = tmp_path / "given.json"
        source.write_text(json.dumps(content))
        output = str(tmp_path / "reviewed")
        return ingest(IngestConfig(run=str(run), sources=(str(source),), output=output, **settings), print)

    return review


def queue_of(run: Path, output: Path, **settings: Any) -> Queue:
    """A queue of the run."""
    return make_queue(QueueConfig(run=str(run), output=str(output), **{"budget": 20} | settings), print)
