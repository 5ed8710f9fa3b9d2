"""The head of a report: what a run cost, what pruning saved, how sure that is."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.report.answers import Card, Facts, answers, header
from litelvlm.pipeline.report.baseline import baseline_facts
from litelvlm.pipeline.report.records import Reasons, ScoreFacts
from litelvlm.pipeline.report.shards import ShardTable
from litelvlm.pipeline.shards.markers import Baseline, WayTaken
from tests.pipeline import planned_runs as made
from tests.pipeline.report.report_runs import shard_table
from tests.pipeline.samples import run_config, shard_marker


def facts_of(
    table: ShardTable, *, state: str | None = "done", unpruned_s: float | None = None, **settings: object
) -> Facts:
    """Facts of a run of 20 shards with 64 rows each."""
    markers = []
    if unpruned_s is not None:
        pruned, unpruned = (WayTaken(s=s, llm_s=s, peak_bytes=None) for s in (1.0, unpruned_s))
        baseline = Baseline(images=2, phrases=4, pruned=pruned, unpruned=unpruned, iou=[1.0, 0.95, 0.5, 0.75])
        markers = [shard_marker(baseline=baseline)]
    return Facts(
        run=made.summary(state=state) if state else None, config=run_config("in.parquet", "out", **settings),
        table=table, planned_shards=20, planned_rows=1280, reasons=Reasons(), scores=ScoreFacts(),
        baseline=baseline_facts(markers, shown=2),
    )  # fmt: skip


def card(facts: Facts, number: int) -> Card:
    return answers(facts)[number]


def test_cost_is_held_time_times_price() -> None:
    found = card(facts_of(shard_table(20, gpu_s=180.0), gpu_price=4.0), 0)  # an hour in all
    assert (found.name, found.value, found.tag) == ("Cost", "4.00", "measured")
    assert found.lines == ["1 h of GPU time at 4.00 an hour, start-up and idle included", "1.00 per 1,000 phrases"]
    assert card(facts_of(shard_table(20, gpu_s=180.0, device="cpu")), 0).name == "Device time held"
    assert card(facts_of(ShardTable.of_rows([])), 0).lines == ["no shard is done"]


def test_what_pruning_saved_says_what_it_rests_on() -> None:
    found = card(facts_of(shard_table(20), unpruned_s=2.0, gpu_price=36.0), 1)
    assert (found.name, found.value, found.tag) == ("Saved by pruning", "50%", "measured on 2 images")
    assert found.lines[0] == "of the model's time; 2.00× as fast end to end"
    # 20 shards of 9 s annotating would have taken as long again: 180 s at 36 an hour.
    assert "1.80 (3 min) saved in the whole run (extrapolated)" in found.lines
    assert "33% of the visual tokens kept" in found.lines
    slower = card(facts_of(shard_table(20), unpruned_s=0.5), 1)
    assert (slower.name, slower.value) == ("Pruning cost time", "-100%")
    assert card(facts_of(shard_table(20)), 1).value == "not measured"


def test_quality_kept_is_the_mean_iou() -> None:
    found = card(facts_of(shard_table(20), unpruned_s=2.0), 2)
    assert (found.value, found.tag) == ("0.800", "measured on 4 phrases")
    assert "50% agree at IoU 0.9 or more" in found.lines


def test_records_and_devices() -> None:
    facts = facts_of(shard_table(20), max_failure_rate=0.02)
    assert card(facts, 3).value == "95%"
    assert card(facts, 3).lines == ["3,800 ok, 160 empty, 40 failed", "1% failed; 2% are allowed"]
    assert card(facts, 4).value == "80 phrases/s"  # 20 shards of 200 phrases, four at a time for 10 s
    assert (card(facts, 5).name, card(facts, 5).value) == ("GPU busy", "90%")


@pytest.mark.parametrize(
    ("state", "shards", "said", "tone"),
    [
        ("done", 20, "finished", "good"),
        ("done", 10, "in progress", "plain"),  # of the last session, while another goes on
        ("crashed", 10, "last session crashed", "bad"),
        (None, 10, "in progress", "plain"),
    ],
)
def test_the_state_is_what_the_shards_and_the_last_session_say(
    state: str | None, shards: int, said: str, tone: str
) -> None:
    found = header(facts_of(shard_table(shards), state=state))
    assert (found["state"], found["tone"]) == (said, tone)
    assert found["progress"] == (None if shards == 20 else "640 of 1,280 rows are done")
    assert found["sentence"].endswith("on 4 actors (NVIDIA H100).")
