"""The chart of cost against quality: refused before the work where it cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.chart import check_chart, draw_chart
from tests.pipeline.planner.test_text import planned


def test_a_chart_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--chart x\.doc: must end in \.png, \.svg, \.pdf"):
        check_chart("x.doc")
    with pytest.raises(UsageError, match=r"--chart .*: no such directory"):
        check_chart(str(tmp_path / "gone/x.png"))


def test_every_plan_is_labelled(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, _, plans = planned(tmp_path, "h100", "l40s")
    path = tmp_path / "chart.svg"
    check_chart(str(path))
    draw_chart(plans, str(path), currency="USD", title="a job")
    text = path.read_text()
    assert text.count("<!-- separate, 192 tokens -->") == text.count("<!-- separate, 576 tokens -->") == 2
    assert "<!-- h100 (one) -->" in text
    assert "<!-- cost, USD -->" in text


def test_plans_without_a_measured_quality_make_no_chart(tmp_path: Path) -> None:
    _, _, plans = planned(tmp_path, "h100")
    bare = [replace(plan, forecast=replace(plan.forecast, quality=())) for plan in plans]
    with pytest.raises(UsageError, match="--chart: no plan has a measured quality; run with --baseline-images"):
        draw_chart(bare, str(tmp_path / "x.png"), currency="USD", title="")
