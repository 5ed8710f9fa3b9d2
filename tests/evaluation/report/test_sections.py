"""Sections of the page, from rows few enough to work out."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.evaluation.records import RESULT_SCHEMA
from litelvlm.evaluation.report import sections

Row = dict[str, Any]


def _row(rule: str, tokens: int, **changes: Any) -> Row:
    """A combination's result on all expressions."""
    given: Row = dict.fromkeys(RESULT_SCHEMA.names) | {
        "rule": rule, "num_retain_tokens": tokens, "num_visual_tokens": 144, "order": "auto", "positions": "compact",
        "seed": 0, "slice_by": "all", "slice": "all", "images": 10, "expressions": 30, "no_target": 0, "failed": 0,
        "ciou": 0.5, "giou": 0.5,
    }  # fmt: skip
    return given | changes


SEEDS = [_row("random", 48, seed=seed, ciou=ciou, giou=ciou) for seed, ciou in ((0, 0.25), (1, 0.75))]


def test_seeds_are_averaged() -> None:
    rows = [_row("none", 144, ciou=0.8, ciou_low=0.7, ciou_high=0.9), *SEEDS, _row("trim", 16, ciou=0.4)]
    found = sections.matrix(rows)
    assert found["columns"] == ["Rule", "48 tokens", "16 tokens"]
    assert found["rows"] == [
        ["none (144 tokens)", "0.800 (0.700–0.900)", ""],
        ["random", "0.500", "–"],
        ["trim", "–", "0.400"],
    ]


def test_a_sweep_of_the_unpruned_model_has_a_column_too() -> None:
    found = sections.matrix([_row("none", 144)])
    assert found["columns"] == ["Rule", "All tokens"]
    assert found["rows"] == [["none (144 tokens)", "0.500"]]


def test_published_numbers_stand_beside_the_same_share_of_tokens() -> None:
    """48 of 144 tokens are 192 of 576; another order is another variant."""
    rows = [_row("none", 144, ciou=0.8), _row("release", 48, ciou=0.6), _row("release", 48, ciou=0.1, order="raster")]
    found = sections.beside_published(rows, "refcoco_val")
    assert found["split"] == "refcoco_val"
    lines = {(line[1], line[2]): line[5:] for line in found["rows"]}
    assert lines["release", "192"] == ["48", "60.0", "75%"]
    assert lines["none", "576"] == ["144", "80.0", "100%"]
    assert lines["release", "64"] == ["–", "–", "–"]
    other = sections.beside_published(rows[1:], "my data")
    assert (other["split"], other["sentence"][:20]) == ("average", "No published numbers")
    assert [line[5:] for line in other["rows"] if line[1:3] == ["release", "192"]] == [["48", "60.0", "–"]]


def test_slices_are_shown_at_the_budget_nearest_a_third() -> None:
    def sliced(rule: str, tokens: int, name: str, giou: float) -> Row:
        return _row(rule, tokens, slice_by="kind", slice=name, giou=giou, expressions=1200)

    rows = [_row("trim", 16)]
    rows += [sliced("none", 144, "dog", 0.9), sliced("none", 144, "cat", 0.8)]
    rows += [sliced("trim", tokens, "dog", tokens / 100) for tokens in (16, 40, 96)]
    found = sections.slices(rows)
    assert found["budget"] == 40
    [(caption, columns, lines)] = found["tables"]
    assert (caption, columns) == ("By kind", ["Rule", "dog (1,200)", "cat (1,200)"])
    assert lines == [["none", "0.900", "0.800"], ["trim", "0.400", "–"]]
    assert sections.slices(rows[:2])["tables"] == []  # one slice is no comparison


def test_every_number_of_a_combination() -> None:
    row = _row("trim", 48, order="raster", llm_tflop=0.0125, answer_s=0.01234, **{"p_at_0.5": 0.625})
    found = sections.metrics([row])
    line = dict(zip(found["columns"], found["rows"][0], strict=True))
    assert (line["Rule"], line["Tokens"], line["Seed"]) == ("trim (raster)", "48", "0")
    assert (line["P@0.5"], line["N-acc"], line["Answer"]) == ("0.625", "–", "12.34 ms")
    assert (line["of it the language model"], line["GFLOP of it"]) == ("–", "12.5")


def test_the_header_says_what_failed() -> None:
    names = ("dataset", "model", "model_revision", "protocol")
    summary: Row = dict.fromkeys(names, "x") | {"devices": ["A100", "H100"]}
    found = sections.header([_row("none", 144, failed=970, encode_s=0.0015), _row("trim", 48)], summary)
    assert found["failed"] == "970 of 1,000 expressions failed and are in no metric."
    assert found["sentence"].startswith("30 expressions on 10 images, under 2 combinations")
    assert (found["encode"], found["devices"]) == ("1.50 ms", "A100, H100")
    assert sections.header([_row("none", 144)], summary)["failed"] == ""


@pytest.mark.parametrize("rows", [SEEDS, [_row("none", 144)]])
def test_charts_are_drawn_without_measured_costs(rows: list[Row]) -> None:
    assert sections.budget_chart(rows).count("<circle") == 1
    assert "nan" not in sections.cost_chart(rows)


def test_differences_keep_their_sign() -> None:
    one = {"question": "?", "compared": "a − b", "num_retain_tokens": 48, "answer": "no, it hurts"}
    values = {"difference": -0.0123, "low": -0.02, "high": -0.0046}
    assert sections.contrast_rows([one | values]) == [
        ["?", "a − b", "48", "-0.012", "-0.020 to -0.005", "no, it hurts"]
    ]
