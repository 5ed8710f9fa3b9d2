"""The service under load, in short: killed, trickled and flooded, no answer is wrong and none is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.serve import main

pytestmark = pytest.mark.faults


def test_no_answer_is_wrong_and_none_is_lost(tmp_path: Path) -> None:
    assert main(["--quick", "--output", str(tmp_path / "serve.json")]) == 0
    found = json.loads((tmp_path / "serve.json").read_text())
    assert found["mistakes"] == {"wrong": 0, "lost": 0}
    assert found["model_killed"]["kills"] >= 1
    assert found["model_killed"]["requests"] == 40
    assert found["unfriendly"]["slow_upload"]["status"] == 408
    assert {one["status"] for one in found["unfriendly"]["huge_body"].values()} == {413}
    assert found["unfriendly"]["idle_connections"] == 50
    assert (tmp_path / "serve.png").read_bytes().startswith(b"\x89PNG")
