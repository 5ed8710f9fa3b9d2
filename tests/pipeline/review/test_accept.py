"""From reviews to labels with a certificate, and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.review.accept import accept
from litelvlm.pipeline.review.config import AcceptConfig
from tests.pipeline.review.conftest import queue_of

Reviews = Callable[..., list[dict[str, Any]]]


def _accept(run: Path, root: Path, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    config = AcceptConfig(run=str(run), reviewed=(str(root / "reviewed"),), output=str(root / "accepted"), **settings)
    return accept(config, lines.append), lines


@pytest.mark.slow
def test_reviews_become_labels(run: Path, reviewed: Reviews, tmp_path: Path) -> None:
    queue_of(run, tmp_path / "q.parquet", budget=100, random_share=1.0, strata="phrase")
    edits = reviewed(lambda content: content["annotations"].pop())
    certificate, lines = _accept(run, tmp_path, queue=str(tmp_path / "q.parquet"))
    assert json.loads((tmp_path / "accepted/certificate.json").read_text()) == certificate
    assert certificate["records"]["reviewed"] == len(edits)
    assert certificate["sample"]["num_errors"] == 1
    assert certificate["reviewers"]["verdicts"] == {"rejected": 1, "unchanged": len(edits) - 1}
    assert certificate["lineage"]["model"] == "demo"
    assert lines[-3] == "nothing may be accepted unseen"
    again, _ = _accept(run, tmp_path, queue=str(tmp_path / "q.parquet"))
    assert again | {"lineage": 0} == certificate | {"lineage": 0}
    assert (tmp_path / "accepted/_SUCCESS").exists()
    calibration = json.loads((tmp_path / "accepted/calibration.json").read_text())
    assert len(calibration["score"]) == len(calibration["probability"]) > 0


def test_without_a_queue_reviews_are_labels_and_nothing_more(run: Path, reviewed: Reviews, tmp_path: Path) -> None:
    reviewed()
    certificate, lines = _accept(run, tmp_path)
    assert certificate["num_accepted"] == 0
    assert "Without --queue" in lines[0]


def test_what_does_not_belong_together_is_refused(run: Path, open_run: Path, reviewed: Reviews, tmp_path: Path) -> None:
    reviewed()
    queue_of(open_run, tmp_path / "other.parquet", budget=3)
    with pytest.raises(UsageError, match="was made for another run"):
        _accept(run, tmp_path, queue=str(tmp_path / "other.parquet"))
    with pytest.raises(UsageError, match="reviews of another run"):
        _accept(open_run, tmp_path)
    (tmp_path / "accepted").mkdir(exist_ok=True)
    (tmp_path / "accepted/photo.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"something else, such as photo\.png"):
        _accept(run, tmp_path)
    assert (tmp_path / "accepted/photo.png").exists()
