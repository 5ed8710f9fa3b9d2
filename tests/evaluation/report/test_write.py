"""`evaluation.html`: what it says, and that nothing in the data can break it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

import pytest
from tinyhtml5.parser import HTMLParser

from litelvlm.evaluation.config import EvaluationConfig, SweepConfig
from litelvlm.evaluation.merge import contrast_values
from litelvlm.evaluation.report.contrasts import contrasts
from litelvlm.evaluation.report.pictures import RulesExample
from litelvlm.evaluation.report.write import render
from litelvlm.evaluation.results import Cost, result_rows
from litelvlm.pipeline.config import InputConfig, RunConfig
from litelvlm.pipeline.report.pictures import Picture
from tests.evaluation.report.sweeps import SWEEP, drawn_answers

HTML = "{http://www.w3.org/1999/xhtml}"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x07"
NUM_VISUAL_TOKENS = 144


def _config(dataset: str = "drawn", sweep: SweepConfig = SWEEP) -> EvaluationConfig:
    source_config = InputConfig(input=("in.parquet",), mask_column="masks")
    run = RunConfig(output="out", source=source_config, storage_options={"secret": "hunter22-secret"})
    return EvaluationConfig(run=run, sweep=sweep, dataset=dataset, bootstrap_samples=200)


def _page(config: EvaluationConfig, *, examples: Sequence[RulesExample] = (), kind: str = "dog", **changes: Any) -> str:
    combinations = config.sweep.combinations()
    answers = drawn_answers(combinations, kind=kind)
    costs = tuple(0.1 * (index + 1) for index in range(len(combinations)))
    cost = Cost(encode_s=1.0, answer_s=costs, llm_s=costs, images=40, prompts=80, text_tokens=800, devices=("cpu",))
    rows = list(result_rows(config, answers, cost, revision="r1", num_visual_tokens=NUM_VISUAL_TOKENS))
    found = contrasts(combinations, answers, num_samples=200)
    summary = {
        "dataset": config.dataset,
        "protocol": config.protocol.describe(),
        "model": "demo",
        "model_revision": "r1",
        "num_visual_tokens": NUM_VISUAL_TOKENS,
        "devices": ["cpu"],
        "encode_s": 1.0,
        "answer_s": sum(costs),
        "contrasts": [contrast_values(one, NUM_VISUAL_TOKENS) for one in found],
    }
    return render(rows, summary | changes, examples, config)


def _parsed(page: str) -> Any:
    parser = HTMLParser()
    tree = parser.parse(page)
    assert not parser.errors, parser.errors[:3]
    return tree


def _text(page: str) -> str:
    return " ".join(" ".join(_parsed(page).find(f"{HTML}body").itertext()).split())


def _table(page: str, caption: str) -> list[list[str]]:
    for table in _parsed(page).iter(f"{HTML}table"):
        if "".join(table.find(f"{HTML}caption").itertext()) == caption:
            return [["".join(cell.itertext()) for cell in line] for line in table.iter(f"{HTML}tr")]
    raise AssertionError(f"no table {caption!r}")


def test_the_page_says_what_was_evaluated_and_found() -> None:
    page = _page(_config())
    text = _text(page)
    assert "80 expressions on 40 images, under 11 combinations" in text
    assert "every: every expression in a conversation of its own" in text
    questions = _table(page, "Differences in gIoU")
    assert questions[1][:3] == [
        "Are the least similar tokens better than the most similar?",
        "low_similarity − high_similarity",
        "48",
    ]
    assert questions[1][5] == "yes"
    assert float(questions[1][3]) == pytest.approx(0.4, abs=0.02)
    matrix = _table(page, "cIoU by rule and budget, with 95 % intervals")
    assert matrix[0] == ["Rule", "48 tokens", "16 tokens"]
    assert [line[0] for line in matrix[1:]] == ["none (144 tokens)", *SWEEP.rules[1:]]
    everything = _table(page, "Every combination")
    assert len(everything) == 1 + 11
    assert [line[0] for line in _table(page, "By kind")[1:]] == list(SWEEP.rules)


@pytest.mark.slow
def test_published_numbers_stand_beside() -> None:
    assert "No published numbers are about these data" in _text(_page(_config()))
    lines = _table(_page(_config("refcoco_val")), "Published refcoco_val, and this evaluation")
    release = next(line for line in lines if line[0] == "LiteLVLM" and line[2] == "192")
    assert release[:5] == ["LiteLVLM", "release", "192", "74.4", "94%"]
    assert release[5] == "48"  # a third of 144, as 192 is of 576
    assert float(release[6]) == pytest.approx(65, abs=2)
    assert next(line for line in lines if line[2] == "128" and line[0] == "LiteLVLM")[5:] == ["–", "–", "–"]
    assert "arXiv 2605.13178" in _text(_page(_config()))


def test_the_page_needs_nothing_else_and_allows_no_script() -> None:
    page = _page(_config(), examples=[RulesExample(image_id="i", phrase="p", tiles=[("paper", Picture(note="gone"))])])
    tree = _parsed(page)
    assert not list(tree.iter(f"{HTML}script"))
    for element in tree.iter():
        assert not [name for name in element.attrib if name.startswith("on")]
        for name in ("src", "href"):
            assert element.get(name, "data:").startswith("data:")
    style = tree.find(f".//{HTML}style").text
    policy = next(meta.get("content") for meta in tree.iter(f"{HTML}meta") if meta.get("http-equiv"))
    assert f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}" in policy
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(chart)


def test_hostile_texts_are_escaped() -> None:
    tiles = [("paper", Picture(note=HOSTILE))]
    example = RulesExample(image_id=HOSTILE, phrase=HOSTILE, tiles=tiles)
    config = dataclasses.replace(_config(), dataset=HOSTILE[:60])
    page = _page(config, examples=[example], kind=HOSTILE, model=HOSTILE + "hunter22-secret")
    tree = _parsed(page)
    assert not list(tree.iter(f"{HTML}script"))
    assert not [image for image in tree.iter(f"{HTML}img") if image.get("onerror")]
    assert "\u202e" not in page
    assert "hunter22-secret" not in page


def test_a_sweep_of_one_combination_is_a_page_too() -> None:
    page = _page(_config(sweep=SweepConfig(rules=("none",))))
    assert "none" in _text(page)
    assert "nan" not in page.lower()


def test_order_and_positions_are_questions_too() -> None:
    settings: dict[str, Any] = {"orders": ("release", "raster"), "positions": ("compact", "original")}
    sweep = SweepConfig(rules=("paper",), budgets=(48,), **settings)
    lines = _table(_page(_config(sweep=sweep)), "Differences in gIoU")[1:]
    assert [line[1] for line in lines] == [
        "paper: raster, compact − release, compact",
        "paper: raster, original − release, original",
        "paper: release, original − release, compact",
        "paper: raster, original − raster, compact",
    ]
    sweep = SweepConfig(
        rules=("paper", "context"), budgets=(48,), orders=("raster",), positions=("compact", "original")
    )
    lines = _table(_page(_config(sweep=sweep)), "Differences in gIoU")[1:]
    assert [line[1] for line in lines[:2]] == [
        "paper − context (raster)",
        "paper − context (raster, original positions)",
    ]
