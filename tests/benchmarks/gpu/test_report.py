"""The page of results."""

from __future__ import annotations

from benchmarks.gpu.report import as_markdown, table

FOUND = {"title": "A", "status": "done", "reason": "", "seconds": 1.5, "facts": {}, "tables": {}, "notes": []}


def test_a_table_has_every_column_that_a_row_has() -> None:
    rows = [
        {"name_of": "a|b", "ms": 1234.56, "stage": {"sam": 0.123456}},
        {"name_of": "c", "range": [1.0, 2.5], "ms": None},
    ]
    assert table(rows) == [
        "| name of | ms | stage sam | range |",
        "|---|---|---|---|",
        "| a\\|b | 1,235 | 0.1235 | – |",
        "| c | – | – | 1 to 2.5 |",
    ]


def test_a_page_has_a_section_for_each_step() -> None:
    failed = FOUND | {"title": "B", "status": "failed", "reason": "Traceback\nValueError: no", "facts": {"peak": 798.0}}
    hardware = {"device": "NVIDIA H100", "date": "2026-11-01", "torch": "2.11", "cores": 8, "cpu": "x"}
    page = as_markdown(
        {
            "hardware": hardware,
            "model": "GLaMM",
            "size": "full",
            "dtype": "bfloat16",
            "steps": {"a": FOUND, "b": failed},
        }
    )
    assert page.startswith("# NVIDIA H100, 2026-11-01\n")
    assert "| A | done | 1.5 |" in page
    assert "## B\n\nFailed.\n\n```\nTraceback\nValueError: no\n```\n* peak: 798\n" in page
    on_cpu = as_markdown(
        {"hardware": hardware | {"device": "none"}, "model": "LISA", "size": "small", "dtype": "float32", "steps": {}}
    )
    assert on_cpu.startswith("# 8 cores, x, 2026-11-01\n")
