"""The report as a whole: what it answers, in which states of a run, and that nothing in a run can break the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tinyhtml5.parser import HTMLParser

from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.report.answers import Facts
from litelvlm.pipeline.report.pictures import MAX_BYTES, THUMBNAIL_BYTES, Picture
from litelvlm.pipeline.report.records import Reasons, ScoreFacts
from litelvlm.pipeline.report.write import REPORT_NAME, gather_facts, render, write_report
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import HOSTILE, DisagreeingEngine, make_output, shard_table
from tests.pipeline.samples import mixed_rows, row, run_config

HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


def parse(page: str) -> ElementTree.Element:
    """The page's elements; fails on anything that HTML calls a parse error."""
    parser = HTMLParser()
    tree = parser.parse(page)
    assert not parser.errors, parser.errors[:3]
    return tree


def text_of(page: str) -> str:
    """The words of a page, single-spaced."""
    tree = parse(page)
    body = tree.find(f"{HTML}body")
    return " ".join(" ".join(body.itertext()).split())


def written(storage: Storage, config: Any) -> str:
    """The report of an output."""
    write_report(storage, config, uri_policy(config))
    return storage.read_bytes(REPORT_NAME).decode()


def card(page: str, name: str) -> str:
    """What the card of this name says."""
    for item in parse(page).iter(f"{HTML}li"):
        heading = item.find(f"{HTML}h3")
        if heading is not None and heading.text == name:
            return " ".join(" ".join(item.itertext()).split())
    raise AssertionError(f"no card {name}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run with failures, empty answers, a price, and a baseline that disagrees."""
    root = tmp_path_factory.mktemp("finished")
    settings = {"gpu_price": 3600.0, "baseline_images": 12}
    return make_output(root, mixed_rows(60), engine=DisagreeingEngine(seconds_per_image=0.002), **settings)


@pytest.mark.slow
def test_the_answer_comes_first_and_agrees_with_the_run(finished: Any) -> None:
    storage, config = finished
    page = written(storage, config)
    summary = json.loads(storage.read_bytes("run.json"))
    headings = [found.text for found in parse(page).iter() if found.tag in (f"{HTML}h2", f"{HTML}h3")]
    assert (
        headings[:4] == ["The answer", "Cost", "Saved by pruning", "Quality kept"] or headings[2] == "Pruning cost time"
    )
    assert f"{summary['cost']:.2f}" in card(page, "Cost") or f"{summary['cost']:.3g}" in card(page, "Cost")
    baseline = summary["baseline"]
    assert f"{baseline['mean_iou_pruned_vs_unpruned']:.3f}" in card(page, "Quality kept")
    assert f"{baseline['measured_speedup']:.2f}×" in text_of(page)
    low, high = (baseline["measured_speedup_quantiles_of_shards"][share] for share in ("0.05", "0.95"))
    assert f"between {low:.2f}× and {high:.2f}×" in text_of(page)
    counts = summary["counts"]
    found = f"{counts['ok']} ok, {counts['empty']} empty, {counts['failed']} failed"
    assert found in card(page, "Records with a mask")
    assert re.search(rf"Scores of {counts['ok']} masks, mean [0-9.]+; below 0\.5 are [0-9]+\.", text_of(page))
    assert "Scores by phrase, the most frequent phrases" in page


@pytest.mark.slow
def test_every_figure_from_a_model_or_a_sample_says_so(finished: Any) -> None:
    storage, config = finished
    page = written(storage, config)
    images = json.loads(storage.read_bytes("run.json"))["baseline"]["images"]
    assert f"measured on {images} images" in page
    assert "in the whole run (extrapolated)" in text_of(page)
    assert "Measured figures come from timers of this run" in text_of(page)


@pytest.mark.slow
def test_the_comparison_shows_the_masks_that_agree_least(finished: Any) -> None:
    storage, config = finished
    page = written(storage, config)
    tree = parse(page)
    alts = [image.get("alt") for image in tree.iter(f"{HTML}img")]
    assert sum(alt.startswith("Pruned and unpruned mask") for alt in alts) == 6
    assert sum(alt.startswith("Mask for") for alt in alts) == 12
    assert sum(alt.startswith("All masks in") for alt in alts) == 6
    assert all(
        "score" in alt or "IoU" in alt or "phrases have a mask" in alt or alt.endswith(("failed", "empty"))
        for alt in alts
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no price was given"),
        ({"gpu_price": 0.0}, "Cost 0.00"),
        ({}, "--baseline-images N annotates N images unpruned as well"),
    ],
    ids=["no price", "free", "no baseline"],
)
def test_what_was_not_asked_for_is_said_to_be_missing(tmp_path: Path, settings: Any, said: str) -> None:
    assert said in text_of(written(*make_output(tmp_path, mixed_rows(12), **settings)))


@pytest.mark.slow
def test_a_run_that_goes_on_is_reported_from_its_markers(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, mixed_rows(40), shards=2, finish=False)
    text = text_of(written(storage, config))
    assert "in progress" in text
    assert "16 of 40 rows are done" in text
    facts = gather_facts(storage, config)
    assert len(facts.table) == 2
    assert facts.scores.scored == facts.table.total("ok")
    assert sum(facts.reasons.counts.values()) == facts.table.total("failed") > 0


def test_nothing_done_is_a_report_too(tmp_path: Path) -> None:
    text = text_of(written(*make_output(tmp_path, mixed_rows(8), shards=0, finish=False)))
    assert "0 of 8 rows are done" in text
    assert "No shard is done" in text


def test_a_run_in_which_everything_failed(tmp_path: Path) -> None:
    rows = [row(number, image=b"<html>not found</html>") for number in range(12)]
    page = written(*make_output(tmp_path, rows, max_failure_rate=0.05))
    assert "too many records failed" in text_of(page)
    assert "0 ok, 0 empty, 12 failed" in card(page, "Records with a mask")
    assert next(parse(page).iter(f"{HTML}img"), None) is None


def test_a_report_of_the_finished_run_equals_one_from_its_markers(finished: Any) -> None:
    storage, config = finished
    merged = gather_facts(storage, config)
    for name in ("throughput.parquet", *storage.list("records")):
        storage.write_bytes(f"kept/{name}", storage.read_bytes(name))
    try:
        storage.delete(["throughput.parquet", *storage.list("records")])
        unmerged = gather_facts(storage, config)
    finally:
        for name in storage.list("kept"):
            storage.write_bytes(name.removeprefix("kept/"), storage.read_bytes(name))
        storage.delete(storage.list("kept"))
    for name in ("phrases", "gpu_s", "annotate_s", "failed"):
        assert unmerged.table.total(name) == pytest.approx(merged.table.total(name))
    assert unmerged.scores.bins.tolist() == merged.scores.bins.tolist()
    assert unmerged.scores.worst == merged.scores.worst
    assert unmerged.scores.best == merged.scores.best
    assert unmerged.baseline.summary == merged.baseline.summary


@pytest.mark.slow
def test_pictures_that_cannot_be_had_are_notes(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, mixed_rows(24))
    Path(config.source.input[0]).unlink()
    page = written(storage, config)
    assert next(parse(page).iter(f"{HTML}img"), None) is None
    figures = sum(found.get("class") == "gallery" and len(found) for found in parse(page).iter(f"{HTML}ul"))
    assert text_of(page).count("No picture:") == figures >= 18


@pytest.mark.slow
def test_a_run_holds_no_way_into_the_page(tmp_path: Path) -> None:
    rows = [row(number, HOSTILE[number], image_id=HOSTILE[number]) for number in range(len(HOSTILE))]
    rows += [row(20 + number, image=text.encode()) for number, text in enumerate(HOSTILE)]
    storage, config = make_output(
        tmp_path, rows, engine=DisagreeingEngine(), baseline_images=7, storage_options={"secret": "hunter2secret"}
    )
    page = written(storage, config)
    check_page(page)
    assert "hunter2secret" not in page
    assert "\u202e" not in page
    text = text_of(page)
    for phrase in HOSTILE[:4]:
        assert phrase in text
    assert "gnp.exe" in text


def check_page(page: str) -> None:
    """The page holds no script, asks for nothing from outside, and its policy lets neither in."""
    tree = parse(page)
    for element in tree.iter():
        tag = element.tag.rsplit("}", 1)[-1]
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "a"), tag
        for name, value in element.attrib.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", "the policy would refuse it"
            if name in ("src", "href", "data", "srcset"):
                assert value.startswith("data:"), value
    styles = [element.text for element in tree.iter(f"{HTML}style")]
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]
    policy = next(meta.get("content") for meta in tree.iter(f"{HTML}meta") if meta.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy  # so that default-src holds


@pytest.mark.slow
def test_the_page_can_be_read_by_a_machine_that_reads_aloud(finished: Any) -> None:
    tree = parse(written(*finished))
    assert tree.get("lang") == "en"
    assert tree.find(f"{HTML}head/{HTML}title").text
    levels = [int(found.tag[-1]) for found in tree.iter() if re.fullmatch(re.escape(HTML) + "h[1-6]", found.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in tree.iter(f"{HTML}table"):
        assert table.find(f"{HTML}caption").text
        assert all(head.get("scope") for head in table.iter(f"{HTML}th"))
    for picture in [*tree.iter(f"{HTML}img")]:
        assert picture.get("alt")
    for chart in tree.iter(f"{SVG}svg"):
        nested = chart.get("viewBox") is not None
        assert nested or chart.get("aria-label") or chart.get("aria-hidden") == "true"
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {section.get("aria-labelledby") for section in tree.iter(f"{HTML}section")} <= set(ids)


@pytest.mark.slow
def test_nothing_but_the_stretched_plots_has_a_fixed_size(finished: Any) -> None:
    """Widths are shares of the page: no chart, table or column can push it wider than a phone."""
    tree = parse(written(*finished))
    for element in tree.iter():
        tag = element.tag.rsplit("}", 1)[-1]
        if tag in ("svg", "table", "td", "th", "col", "div") and (width := element.get("width")):
            assert width.endswith("%") or element.get("class") == "swatch", (tag, width)
    css = next(tree.iter(f"{HTML}style")).text
    widths = re.findall(r"(?<![-\w])(?:min-)?width:\s*([\d.]+)(px|rem|em)", re.sub(r"@media[^{]*", "", css))
    assert all(float(value) * (1 if unit == "px" else 16) <= 160 for value, unit in widths), widths


@pytest.mark.slow
def test_a_hundred_thousand_shards_make_a_page_below_three_megabytes(tmp_path: Path) -> None:
    table = shard_table(100_000)
    config = run_config("in.parquet", tmp_path, gpu_price=2.49)
    reasons = Reasons()
    for number in range(3_000):
        reasons.add(f"reason {chr(0x4E00 + number)}", number)
    facts = Facts(
        run=None, config=config, table=table, planned_shards=100_000, planned_rows=6_400_000,
        reasons=reasons, scores=ScoreFacts(), baseline=None,
    )  # fmt: skip
    largest = "data:image/jpeg;base64," + "A" * (MAX_BYTES * 4 // 3 + 4)
    item = {"picture": Picture(uri=largest, width=480, height=480), "uri": largest, "phrase": "p" * 5_000}
    pictures = dict.fromkeys(
        ("worst", "best", "disagreeing", "whole"), [item | {"figure": "score 1", "origin": "i" * 5_000}] * 6
    )
    pictures["whole"] = [one | {"answers": [(None, "p" * 160, "0.5")] * 24} for one in pictures["whole"]]
    small = item | {"uri": "data:image/jpeg;base64," + "A" * (THUMBNAIL_BYTES * 4 // 3 + 4)}
    pictures |= dict.fromkeys(("empty", "failed"), [small | {"figure": "empty", "origin": "i" * 300}] * 6)
    page = render(facts, pictures, title="s3://bucket/run")
    assert len(page.encode()) < 3_000_000
    assert "20,000,000 phrases on 6,400,000 images" in text_of(page)
    assert "691.67" in card(page, "Cost")  # 100,000 shards x 10 s / 3600 x 2.49


def test_a_configuration_comes_back_as_it_was_saved_with_its_secrets_given_again(finished: Any) -> None:
    storage, config = finished
    assert claimed_run(storage).config_with(config.storage_options) == config
