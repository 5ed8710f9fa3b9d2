"""The certificate's page, with and without anything to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tinyhtml5

from litelvlm.pipeline.review.accept_page import write_page
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.review.conftest import HOSTILE
from tests.pipeline.review.test_certify import World

EXTRA: dict[str, Any] = {
    "records": {"reviewed": 600, "accepted": 900, "open": 500},
    "reviewers": {"num_items": 600, "verdicts": {"rejected": 9}, "seconds_per_item": 8.0, "lead_time_s": 4800.0},
    "lineage": {"run": HOSTILE, "model_revision": "abc"},
}


@pytest.mark.parametrize("queue", [True, False])
def test_it_says_what_is_certified(tmp_path: Path, queue: bool) -> None:
    verdict = World().certify(queue=queue)
    write_page(Storage(str(tmp_path)), verdict.certificate | EXTRA, verdict, title=HOSTILE)
    text = (tmp_path / "report.html").read_text()
    assert tinyhtml5.parse(text).find(".//{*}h1").text == "Labels, reviewed and accepted"
    assert "<script" not in text
    assert f"{verdict.certificate['num_accepted']:,}" in text
    assert ("What the score is worth" in text) is queue
    assert ("What more reviews would bring" in text) is queue
    assert "1 h 20 min" in text
