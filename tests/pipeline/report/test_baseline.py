"""What a report says of the comparison with unpruned."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm.pipeline.report.baseline import IOU_BINS, BaselineFacts, baseline_facts
from litelvlm.pipeline.shards.markers import Baseline, MaskPair, ShardMarker, WayTaken
from tests.pipeline.samples import shard_marker


def test_pairs_are_of_different_images_the_least_alike_first() -> None:
    def pair(row: int, iou: float) -> MaskPair:
        return MaskPair(source_row=row, phrase_index=0, iou=iou, size_hw=(2, 2), pruned_rle="", unpruned_rle="")

    def marker(shard: int, *pairs: MaskPair) -> ShardMarker:
        pruned, unpruned = (WayTaken(s=s, llm_s=0.5, peak_bytes=None) for s in (1.0, 3.0))
        found = Baseline(images=2, phrases=2, pruned=pruned, unpruned=unpruned, iou=[0.5, 1.0], pairs=list(pairs))
        return shard_marker(shard_id=f"s{shard}", baseline=found)

    markers = [marker(0, pair(4, 0.2), pair(4, 0.3)), marker(1, pair(9, 0.1)), shard_marker(shard_id="s2")]
    facts = baseline_facts(markers, shown=2)
    assert facts is not None
    assert [(one.shard_id, one.masks.source_row, one.masks.iou) for one in facts.worst] == [
        ("s1", 9, 0.1),
        ("s0", 4, 0.2),
    ]
    assert facts.summary["images"] == 4
    assert facts.saved_share == pytest.approx(2 / 3)
    assert facts.same_share == 0.5
    assert facts.bins().count(2) == 2
    assert baseline_facts([shard_marker()], shown=2) is None


def facts_of(iou: list[float], *, speedup: float | None) -> BaselineFacts:
    return BaselineFacts(summary={"measured_speedup": speedup}, iou=np.array(iou), worst=[])


@pytest.mark.parametrize(("speedup", "saved"), [(2.0, 0.5), (0.5, -1.0), (1.0, 0.0), (None, None)])
def test_what_was_saved_is_a_share_of_the_unpruned_seconds(speedup: float | None, saved: float | None) -> None:
    assert facts_of([], speedup=speedup).saved_share == saved


def test_agreement_by_hand() -> None:
    facts = facts_of([0.0, 0.5, 0.9, 1.0], speedup=2.0)
    assert facts.same_share == 0.5
    assert facts.quantile(0.5) == pytest.approx(0.7)
    counts = facts.bins()
    assert {at: counts[at] for at in range(IOU_BINS) if counts[at]} == {0: 1, 10: 1, 18: 1, 19: 1}
    assert (facts_of([], speedup=2.0).same_share, facts_of([], speedup=2.0).quantile(0.5)) == (None, None)
