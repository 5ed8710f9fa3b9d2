"""The published numbers are the paper's."""

from __future__ import annotations

import pytest

from litelvlm.config import RULES
from litelvlm.evaluation.report.published import AVERAGE, RULE_OF, published, source, splits


def test_published_numbers_are_the_papers() -> None:
    assert splits() == (
        "refcoco_val", "refcoco_testA", "refcoco_testB", "refcoco+_val", "refcoco+_testA", "refcoco+_testB",
        "refcocog_val", "refcocog_test",
    )  # fmt: skip
    by_key = {(one.method, one.num_retain_tokens): one.ciou for one in published("refcoco_val")}
    assert by_key["GLaMM", 576] == 0.795
    assert by_key["TRIM", 64] == 0.501
    assert len(by_key) == 1 + 3 * 6
    assert "2605.13178" in source()
    assert "version 2 is of 2026-06-01; read on 2026-11-28" in source()
    assert set(RULE_OF.values()) <= set(RULES)
    with pytest.raises(ValueError, match="refcoco_val"):
        published("coco")


def test_values_are_shares_and_the_average_is_that_of_the_splits() -> None:
    for one in published(AVERAGE):
        same = [other for split in splits() for other in published(split)]
        own = [
            other.ciou
            for other in same
            if (other.method, other.num_retain_tokens) == (one.method, one.num_retain_tokens)
        ]
        assert len(own) == 8
        assert one.ciou == pytest.approx(sum(own) / 8, abs=0.0011)  # the paper rounds to a decimal of a per cent
        assert one.of_unpruned <= 1.0
    unpruned = published("refcoco_val")[0]
    assert (unpruned.rule, unpruned.num_retain_tokens, unpruned.of_unpruned) == ("none", 576, 1.0)
