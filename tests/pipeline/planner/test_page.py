"""The curve of labels for the money: its points are the plans', its names are escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from litelvlm.pipeline.planner.page import render_reviews
from litelvlm.pipeline.planner.reviews import ReviewPlan, read_rates, with_reviewers
from tests.pipeline.planner.test_reviews import certificate
from tests.pipeline.planner.test_text import JOB, planned
from tests.pipeline.report.test_write import check_page, text_of


def budgets(tmp_path: Path, *gpus: str) -> list[ReviewPlan]:
    """Plans of three budgets, of which 192 tokens are the best for the money, and unpruned ones."""
    _, _, plans = planned(tmp_path, *gpus)
    lineage = {"layout": "separate", "rule": "paper"}
    pruned = [one for one in plans if one.forecast.setting.pruned]
    found = []
    for tokens, share in ((48, 0.1), (192, 0.9), (96, 0.5)):
        path = certificate(
            tmp_path / str(tokens), lineage=lineage | {"num_retain_tokens": tokens}, accepted_share=share
        )
        settings = [
            replace(one, forecast=replace(one.forecast, setting=replace(one.forecast.setting, tokens=tokens)))
            for one in pruned
        ]
        found += with_reviewers(JOB, settings, read_rates([path], {}, None), 20.0)
    whole = certificate(tmp_path / "all", lineage={"layout": "separate", "rule": "none", "num_retain_tokens": None})
    return found + with_reviewers(JOB, plans, read_rates([whole], {}, None), 20.0)


def test_the_curve_goes_over_the_budgets_in_their_order(tmp_path: Path) -> None:
    found = budgets(tmp_path, "h100")
    page = render_reviews(found, 20.0, "USD")
    check_page(page)
    ticks = re.findall(r'text-anchor="middle">([^<]+)<', page)
    assert ticks == ["48", "96", "192", "all"]
    heights = {
        float(x): float(y) for x, y in re.findall(r'<circle class="c-accent" cx="([\d.]+)%" cy="([\d.]+)"', page)
    }
    assert list(heights) == [12.5, 37.5, 62.5]
    by_tokens = {one.rate.tokens: one.labels_per_unit for one in found}
    best = max(by_tokens, key=lambda tokens: by_tokens[tokens])
    assert best == 192
    base = 162  # of the plot; heights are in proportion to what they show
    for x, tokens in zip(heights, (48, 96, 192), strict=True):
        expected = by_tokens[tokens] / by_tokens[192]
        assert (base - heights[x]) / (base - heights[62.5]) == pytest.approx(expected, abs=0.01)
    text = text_of(page)
    assert "Reviewers at 20 USD an hour" in text
    assert "at most 5% at IoU 0.8" in text
    assert text.index("192 tokens 90.0%") < text.index("48 tokens 10.0%"), "the most labels for the money come first"


def test_many_settings_are_in_the_table_and_some_in_the_chart(tmp_path: Path) -> None:
    text = text_of(render_reviews(budgets(tmp_path, "h100", "l40s"), 20.0, "USD"))
    assert "1 more settings are in the table alone" in text


def test_nothing_reviewed_is_said_to_be_so() -> None:
    page = render_reviews([], 20.0, "<b>USD</b>")
    check_page(page)
    assert "No planned setting is that of an accepted run" in page
    assert "<b>" not in page
