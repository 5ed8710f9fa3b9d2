"""Killed at any write and called again, nothing that a reviewer did is lost or there twice."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litelvlm.pipeline.review import accept as accepting
from litelvlm.pipeline.review.accept import accept
from litelvlm.pipeline.review.config import AcceptConfig, IngestConfig, ReviewExportConfig
from litelvlm.pipeline.review.export import export_review
from litelvlm.pipeline.review.ingest import ingest
from tests.pipeline.review.conftest import queue_of
from tests.pipeline.review.killing import Killed, kill_at

MOST_WRITES = 40


def contents(root: Path) -> dict[str, bytes]:
    """What a folder holds, but for what writers that died have left."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and ".tmp-" not in path.name)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def every_kill(work: Callable[[], object], whole: int) -> Iterator[tuple[int, bool]]:
    """Kill some work at each of its writes, before and after it; let the caller look, and go on."""
    for place in range(whole):
        for published in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, place, published=published)
                with pytest.raises(Killed):
                    work()
            yield place, published


def num_writes(work: Callable[[], object]) -> int:
    """Of some work that is left in peace."""
    with pytest.MonkeyPatch.context() as patch:
        written = kill_at(patch, MOST_WRITES, published=False)
        work()
    assert 0 < len(written) < MOST_WRITES
    return len(written)


@pytest.fixture(scope="module")
def handed_back(coco: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What a tool exports on two days: a mask is rejected, then another, and an object is added."""
    root, paths = tmp_path_factory.mktemp("handed-back"), []
    content = copy.deepcopy(coco)
    for day in range(2):
        del content["annotations"][day]
        one = copy.deepcopy(content["annotations"][-1])
        one["id"], one["attributes"]["record"] = 10_000 + day, ""
        content["annotations"].append(one)
        paths.append(root / f"{day}.json")
        paths[-1].write_text(json.dumps(content))
    return paths


def ingested(run: Path, source: Path, output: Path) -> list[dict[str, Any]]:
    return ingest(IngestConfig(run=str(run), sources=(str(source),), output=str(output)), lambda _: None)


@pytest.mark.slow
def test_ingesting(run: Path, handed_back: list[Path], tmp_path: Path) -> None:
    first, second = handed_back
    whole = tmp_path / "whole"
    count = num_writes(lambda: ingested(run, first, whole))
    expected = contents(whole)
    again = tmp_path / "again"
    for _ in every_kill(lambda: ingested(run, first, again), count):
        ingested(run, first, again)
        assert contents(again) == expected
        again.rename(tmp_path / f"done-{len(list(tmp_path.iterdir()))}")
    count = num_writes(lambda: ingested(run, second, whole))
    both = contents(whole)
    assert {name for name in expected if name.startswith("history/")} < set(both)
    later = sorted(tmp_path.glob("done-*"))  # each is killed once
    kept = contents(later[0])
    for _ in every_kill(lambda: ingested(run, second, later[0]), count):
        output = later.pop(0)
        killed = contents(output)
        assert killed["edits.parquet"] in (expected["edits.parquet"], both["edits.parquet"])
        assert all(killed[name] == kept[name] for name in kept if name.startswith("history/"))
        ingested(run, second, output)
        assert contents(output) == both
    assert not later


@pytest.mark.slow
def test_accepting(run: Path, handed_back: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(strftime=lambda *_: "2026-11-28T00:00:00Z", gmtime=lambda: None)
    monkeypatch.setattr(accepting, "time", clock)
    queue_of(run, tmp_path / "q.parquet", budget=100, random_share=1.0, strata="phrase")
    reviewed = tmp_path / "reviewed"
    ingested(run, handed_back[0], reviewed)
    before = contents(reviewed)

    def accepted(name: str) -> None:
        config = AcceptConfig(
            run=str(run), reviewed=(str(reviewed),), queue=str(tmp_path / "q.parquet"), output=str(tmp_path / name)
        )
        accept(config, lambda _: None)

    count = num_writes(lambda: accepted("whole"))
    whole = contents(tmp_path / "whole")
    for _ in every_kill(partial(accepted, "again"), count):
        killed = contents(tmp_path / "again")
        assert "_SUCCESS" not in killed or killed == whole
        accepted("again")
        assert contents(tmp_path / "again") == whole
        assert contents(reviewed) == before


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["label-studio", "cvat"])
def test_exporting(run: Path, tmp_path: Path, tool: str) -> None:
    def exported(name: str) -> None:
        config = ReviewExportConfig(
            run=str(run), to=tool, output=str(tmp_path / name), where="phrase = 'a dog' and source_row < 6"
        )
        export_review(config, lambda _: None)

    count = num_writes(lambda: exported("whole"))
    whole = contents(tmp_path / "whole")
    for _ in every_kill(partial(exported, "again"), count):
        exported("again")
        assert contents(tmp_path / "again") == whole
