"""`evaluation.html`: what it says, and that nothing in the data can break it."""

import base64
import dataclasses
import hashlib
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from tinyhtml5.parser import HTMLParser

from litelvlm.config import RULES
from litelvlm.evaluation.answers import Answers, rank_correlation
from litelvlm.evaluation.config import EvaluationConfig, SweepConfig
from litelvlm.evaluation.merge import contrast_values
from litelvlm.evaluation.report.contrasts import contrasts
from litelvlm.evaluation.report.pictures import Example, heat, light
from litelvlm.evaluation.report.published import RULE_OF, published, source, splits
from litelvlm.evaluation.report.write import render
from litelvlm.evaluation.results import Cost, result_rows
from litelvlm.pipeline.config import InputConfig, RunConfig
from litelvlm.pipeline.report.pictures import Picture

HTML = "{http://www.w3.org/1999/xhtml}"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x07"
SWEEP = SweepConfig(
    rules=("none", "release", "low_similarity", "high_similarity", "random"), budgets=(48, 16), seeds=(0, 1)
)
NUM_VISUAL_TOKENS = 144
NUM_IMAGES = 40


def _config(dataset="drawn", sweep=SWEEP):
    source_config = InputConfig(input=("in.parquet",), mask_column="masks")
    run = RunConfig(output="out", source=source_config, storage_options={"secret": "hunter22-secret"})
    return EvaluationConfig(run=run, sweep=sweep, dataset=dataset, bootstrap_samples=200)


def _answers(combinations, *, kind="dog"):
    """Two expressions on each of 40 images; the rule decides how much of the object is found."""
    rng = np.random.default_rng(0)
    count = 2 * NUM_IMAGES
    true = rng.integers(100, 900, count)
    columns = {name: [] for name in ("combination", "true_area", "intersection", "predicted_area", "score")}
    for index, pruning in enumerate(combinations):
        share = {"low_similarity": 0.8, "high_similarity": 0.4}.get(pruning.rule, 0.6) + 0.1 * rng.random(count)
        found = (true * share).astype(np.int64)
        for name, values in (("true_area", true), ("intersection", found), ("predicted_area", found), ("score", share)):
            columns[name].append(values)
        columns["combination"].append(np.full(count, index))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    total = len(joined["combination"])
    joined |= {"num_words": np.full(total, 3), "boundary_f": np.full(total, 0.5), "coverage": np.full(total, 0.25)}
    return Answers(
        columns=joined,
        failed=np.zeros(total, bool),
        image=np.tile(np.repeat(np.arange(NUM_IMAGES), 2), len(combinations)),
        kind=np.tile(np.arange(count) % 2, len(combinations)),
        kinds=(kind, "cat"),
        share=joined["true_area"] / 10_000,
    )


def _page(config, *, examples=(), kind="dog", **changes):
    combinations = config.sweep.combinations()
    answers = _answers(combinations, kind=kind)
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


def _parsed(page):
    parser = HTMLParser()
    tree = parser.parse(page)
    assert not parser.errors, parser.errors[:3]
    return tree


def _text(page):
    return " ".join(" ".join(_parsed(page).find(f"{HTML}body").itertext()).split())


def _table(page, caption):
    for table in _parsed(page).iter(f"{HTML}table"):
        if "".join(table.find(f"{HTML}caption").itertext()) == caption:
            return [["".join(cell.itertext()) for cell in line] for line in table.iter(f"{HTML}tr")]
    raise AssertionError(f"no table {caption!r}")


def test_the_page_says_what_was_evaluated_and_found():
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


def test_published_numbers_stand_beside():
    assert "No published numbers are about these data" in _text(_page(_config()))
    lines = _table(_page(_config("refcoco_val")), "Published refcoco_val, and this evaluation")
    release = next(line for line in lines if line[0] == "LiteLVLM" and line[2] == "192")
    assert release[:5] == ["LiteLVLM", "release", "192", "74.4", "94%"]
    assert release[5] == "48"  # a third of 144, as 192 is of 576
    assert float(release[6]) == pytest.approx(65, abs=2)
    assert next(line for line in lines if line[2] == "128" and line[0] == "LiteLVLM")[5:] == ["–", "–", "–"]
    assert "arXiv 2605.13178" in _text(_page(_config()))


def test_the_page_needs_nothing_else_and_allows_no_script():
    page = _page(_config(), examples=[Example(image_id="i", phrase="p", tiles=[("paper", Picture(note="gone"))])])
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


def test_hostile_texts_are_escaped():
    tiles = [("paper", Picture(note=HOSTILE))]
    example = Example(image_id=HOSTILE, phrase=HOSTILE, tiles=tiles)
    config = dataclasses.replace(_config(), dataset=HOSTILE[:60])
    page = _page(config, examples=[example], kind=HOSTILE, model=HOSTILE + "hunter22-secret")
    tree = _parsed(page)
    assert not list(tree.iter(f"{HTML}script"))
    assert not [image for image in tree.iter(f"{HTML}img") if image.get("onerror")]
    assert "\u202e" not in page
    assert "hunter22-secret" not in page


def test_a_sweep_of_one_combination_is_a_page_too():
    page = _page(_config(sweep=SweepConfig(rules=("none",))))
    assert "none" in _text(page)
    assert "nan" not in page.lower()


def test_published_numbers_are_the_papers():
    assert splits() == (
        "refcoco_val", "refcoco_testA", "refcoco_testB", "refcoco+_val", "refcoco+_testA", "refcoco+_testB",
        "refcocog_val", "refcocog_test",
    )  # fmt: skip
    by_key = {(one.method, one.num_retain_tokens): one.ciou for one in published("refcoco_val")}
    assert by_key["GLaMM", 576] == 0.795
    assert by_key["TRIM", 64] == 0.501
    assert len(by_key) == 1 + 3 * 6
    assert "2605.13178" in source()
    assert set(RULE_OF.values()) <= set(RULES)
    with pytest.raises(ValueError, match="refcoco_val"):
        published("coco")


def test_order_and_positions_are_questions_too():
    settings = {"orders": ("release", "raster"), "positions": ("compact", "original")}
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


def test_intervals_of_differences_see_what_single_ones_hide():
    combinations = SWEEP.combinations()
    found = list(contrasts(combinations, _answers(combinations), num_samples=300))
    against_chance = [one for one in found if (one.first.rule, one.second.rule) == ("low_similarity", "random")]
    assert [one.first.num_retain_tokens for one in against_chance] == [48, 16]
    for one in against_chance:
        assert one.low < one.difference < one.high
        assert one.difference == pytest.approx(0.2, abs=0.02)
        assert (one.low > 0) == (one.verdict == "yes")
    assert list(contrasts(combinations, _answers(combinations), num_samples=0)) == []


def test_light_falls_where_tokens_were_kept():
    kept = heat([[0, 1, 2, 3], [0, 1]], 4)
    assert kept.tolist() == [1.0, 1.0, 0.5, 0.5]
    rgb = np.full((10, 30, 3), 200, np.uint8)
    lit = light(rgb, heat([[0]], 4))
    assert lit[2, 12, 0] == 200  # the first patch of the central square
    assert lit[2, 17, 0] < 60
    assert lit[2, 0, 0] == 20  # outside


def test_rank_correlation():
    values = np.array([0.1, 0.4, 0.2, 0.9])
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1.0)
    assert rank_correlation(values, -values) == pytest.approx(-1.0)
    assert rank_correlation(values, np.ones(4)) is None
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.sqrt(3) / 2)


def test_what_is_compared_with_chance_is_compared_with_the_mean_over_its_seeds():
    combinations = SWEEP.combinations()
    answers = _answers(combinations)
    share = answers["intersection"] / answers["true_area"]  # the union is the object: nothing else is predicted

    def mean(rule, tokens, seeds):
        wanted = [
            index
            for index, one in enumerate(combinations)
            if (one.rule, one.num_retain_tokens) == (rule, tokens) and one.seed in seeds
        ]
        return share[np.isin(answers["combination"], wanted)].mean()

    found = [one for one in contrasts(combinations, answers, num_samples=50) if one.second.rule == "random"]
    assert {one.first.rule for one in found} == {"low_similarity", "high_similarity"}
    for one in found:
        tokens = one.first.num_retain_tokens
        expected = mean(one.first.rule, tokens, {0}) - mean("random", tokens, {0, 1})
        assert one.difference == pytest.approx(expected, abs=1e-12)
        assert abs(one.difference - mean(one.first.rule, tokens, {0}) + mean("random", tokens, {0})) > 1e-6
