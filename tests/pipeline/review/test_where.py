"""Conditions in SQL reach the records and nothing else."""

from __future__ import annotations

import pyarrow as pa
import pytest

from litelvlm.pipeline.review.where import Where

TABLE = pa.table(
    {"score": pa.array([0.2, 0.9, None], pa.float32()), "category": ["car", "dog", "car"], "phrase": ["a", "it's", "b"]}
)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (None, [True, True, True]),
        ("score < 0.6 and category = 'car'", [True, False, False]),
        ("score is null", [False, False, True]),
        ("SCORE > 0.5 or phrase like 'b%'", [False, True, True]),
        ("phrase = 'it''s'", [False, True, False]),
    ],
)
def test_it_holds_where_it_says(condition: str | None, holds: list[bool]) -> None:
    assert Where(condition).holds(TABLE).tolist() == holds


def test_only_the_columns_that_it_names_are_needed() -> None:
    assert set(Where("score < 0.5 and status = 'ok'").columns) == {"score", "status"}


@pytest.mark.parametrize(
    "condition",
    [
        "nosuch = 1",
        "score <",
        "score < 1; drop table x",
        "score < 1) or (1 = 1",
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "phrase in (select content from read_text('/etc/passwd'))",
        "(select count(*) from table) > 0",
        "__import__('os').system('true')",
        "count(*) > 1",
        "",
    ],
)
def test_what_is_no_condition_over_records_is_refused_in_a_line(condition: str) -> None:
    with pytest.raises(ValueError, match=r"^--where: [^\n]+$"):
        Where(condition)
