"""Sections of a report: every part of the facts has its row, in words."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.report import sections
from litelvlm.pipeline.report.shards import ShardTable
from tests.pipeline.report.report_runs import shard_table
from tests.pipeline.report.test_answers import facts_of


def test_the_devices_seconds_are_shared_out() -> None:
    found = sections.device_section(facts_of(shard_table(20)))
    shares = {name: share for _, name, _, share in found["rows"]}
    assert shares["Language model (prefill)"] == "30%"
    assert shares["Idle: waiting for images"] == "5%"
    assert "Start-up: loading the model" not in shares  # took nothing
    assert found["held"] == "3 min 20 s"


def test_a_slow_shard_is_named_with_what_it_spent_its_time_on() -> None:
    sam = [2.0] * 20
    sam[7] = 40.0
    table = shard_table(20, sam_s=sam, annotate_s=[7.0 + seconds for seconds in sam])
    found = sections.shard_section(facts_of(table))
    assert (found["num_slow"], found["num_shards"]) == ("1", "20")
    assert found["slow"][0][0] == "0000007-abc"
    assert found["slow"][0][4] == "SAM image encoder"
    assert len(found["actors"]) == 4
    assert found["more_actors"] == 0


def test_what_there_is_nothing_of_is_left_out() -> None:
    empty = facts_of(ShardTable.of_rows([]), state=None)
    assert sections.device_section(empty)["bar"] is None
    assert sections.time_section(empty) is None
    assert sections.shard_section(empty)["chart"] is None
    assert sections.pruning_section(empty) is None
    assert sections.score_section(empty)["chart"] is None
    assert not sections.failure_section(empty)["any"]
    assert "Versions" not in dict(sections.settings_section(empty))


def test_the_comparison_has_a_row_for_what_was_measured() -> None:
    found = sections.pruning_section(facts_of(shard_table(20), unpruned_s=2.0))
    assert found is not None
    assert found["rows"] == [
        ("Model time, end to end", "1 s", "2 s", "2.00×"),
        ("Prefill alone", "1 s", "2 s", "2.00×"),
    ]
    assert (found["images"], found["phrases"]) == ("2", "4")
    assert found["quantiles"][2] == ("50%", "0.850")


def test_the_most_frequent_reasons_come_first_and_the_rest_is_counted() -> None:
    facts = facts_of(shard_table(20))
    for number in range(14):
        facts.reasons.add(f"reason {chr(65 + number)}", 100 - number)
    found = sections.failure_section(facts)
    assert [row[:2] for row in found["rows"][:2]] == [("reason A", "100"), ("reason B", "99")]
    assert len(found["rows"]) == 12
    assert found["others"] == str(88 + 87)
    assert found["failed"] == "40"


@pytest.mark.parametrize(
    ("tokens", "said"), [(21, "rule release, 21 tokens kept"), ("all", "rule release, all tokens kept")]
)
def test_the_settings_say_what_was_run(tokens: object, said: str) -> None:
    found = dict(sections.settings_section(facts_of(shard_table(20), num_retain_tokens=tokens, num_actors=(2, 4))))
    assert found["Pruning"] == said
    assert found["Actors"] == "2–4, 1 GPU each"
    assert found["Shards"] == "20 of 20 done, up to 8 rows each"
