"""The page shows every item, and what data say stays text."""

from __future__ import annotations

from pathlib import Path

import pytest
import tinyhtml5

from tests.pipeline.review.conftest import HOSTILE, queue_of


@pytest.mark.slow
def test_it_shows_items_with_their_pictures_and_nothing_runs(run: Path, tmp_path: Path) -> None:
    queue = queue_of(run, tmp_path / "q.parquet", budget=100, pictures=100)
    text = (tmp_path / "q.html").read_text()
    assert text.count("data:image/jpeg;base64,") == queue.items.num_rows
    assert "<script" not in text
    assert HOSTILE not in text
    assert "=1+1&lt;script&gt;" in text
    page = tinyhtml5.parse(text)
    assert len(page.findall(".//{*}figure")) == queue.items.num_rows


def test_more_items_than_pictures_are_told(run: Path, tmp_path: Path) -> None:
    queue_of(run, tmp_path / "q.parquet", pictures=3)
    assert "The first 3 of 20." in (tmp_path / "q.html").read_text()
