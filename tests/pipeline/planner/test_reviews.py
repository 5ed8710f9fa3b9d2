"""Reviewers beside devices: the arithmetic by hand, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.planner.reviews import describe_reviews, read_rates, reviews_json, with_reviewers
from tests.pipeline.planner.test_text import JOB, planned


def certificate(root: Path, **changes: Any) -> str:
    """An accepted run of the pruned setting: half of it unseen, 9 seconds a mask."""
    content = {
        "lineage": {"layout": "separate", "rule": "paper", "num_retain_tokens": 192},
        "reviewers": {"seconds_per_item": 9.0},
        "accepted_share": 0.5,
        "max_error": 0.05,
        "confidence": 0.95,
        "target_iou": 0.8,
    } | changes
    root.mkdir(parents=True, exist_ok=True)
    (root / "certificate.json").write_text(json.dumps(content))
    return str(root)


def test_labels_cost_devices_and_people(tmp_path: Path) -> None:
    _, _, plans = planned(tmp_path, "h100")
    whole = {"layout": "separate", "rule": "none", "num_retain_tokens": None}
    paths = [certificate(tmp_path / "a"), certificate(tmp_path / "b", lineage=whole, accepted_share=0.8)]
    found = with_reviewers(JOB, plans, read_rates(paths, {}, None), price=20.0)
    pruned, unpruned = found
    assert pruned.labels == 480_000
    assert pruned.reviewer_hours == pytest.approx(240_000 * 9 / 3600)
    assert unpruned.reviewer_cost == pytest.approx(96_000 * 9 / 3600 * 20)
    assert pruned.labels_per_unit == pytest.approx(480_000 / (pruned.plan.cost + 600 * 20))
    lines = describe_reviews(found, 20.0, "USD").splitlines()
    assert "reviewers at 20 USD an hour" in lines[0]
    assert "at most 0.05 wrong at IoU 0.8" in lines[0]
    assert re.match(r"separate, all 576 tokens +80\.0% +96,000 ", lines[2]), "the most labels for the money come first"
    assert json.loads(json.dumps(reviews_json(found)))[0]["labels_per_unit"] == pruned.labels_per_unit


@pytest.mark.parametrize("change", [{"rule": "trim"}, {"layout": "shared"}, {"num_retain_tokens": 64}], ids=str)
def test_settings_that_nobody_reviewed_are_said_to_be_so(tmp_path: Path, change: dict[str, Any]) -> None:
    _, _, plans = planned(tmp_path, "h100")
    other = {"layout": "separate", "rule": "paper", "num_retain_tokens": 192} | change
    rates = read_rates([certificate(tmp_path / "a", lineage=other)], {}, None)
    assert "no planned setting" in describe_reviews(with_reviewers(JOB, plans, rates, 20.0), 20.0, "USD")


def test_certificates_that_are_none_or_tell_no_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no certificate.json"):
        read_rates([str(tmp_path)], {}, None)
    with pytest.raises(ValueError, match="is damaged, or of another version"):
        read_rates([certificate(tmp_path / "a", accepted_share=None)], {}, None)
    path = certificate(tmp_path / "b", reviewers={"seconds_per_item": None})
    with pytest.raises(ValueError, match="give --seconds-per-item"):
        read_rates([path], {}, None)
    assert read_rates([path], {}, 4.0)[0].seconds_per_item == 4.0
    assert read_rates([certificate(tmp_path / "c")], {}, 4.0)[0].seconds_per_item == 4.0
