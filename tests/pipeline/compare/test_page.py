"""The page of a comparison: its figures are those of the summary, and what data say stays text."""

from __future__ import annotations

import shutil
from pathlib import Path

import tinyhtml5

from litelvlm.pipeline.compare.comparison import Comparison
from litelvlm.pipeline.report import words
from tests.pipeline.compare.conftest import ALIKE, MOVED, UNSEEN, compare
from tests.pipeline.report.report_runs import HOSTILE, make_output
from tests.pipeline.samples import row


def test_it_says_what_the_summary_says(compared: tuple[Comparison, Path, list[str]]) -> None:
    found, output, _ = compared
    text = (output / "compare.html").read_text()
    page = tinyhtml5.parse(text)
    captions = ["".join(one.itertext()) for one in page.findall(".//{*}caption")]
    assert (
        len(captions) == 6
    )  # the runs, their costs, answers, statuses, sizes, words; of one class nobody wants a table
    for figure in (
        words.percent(found.overall.agree),
        words.score(found.overall.mean_iou),
        words.money(found.a.costs.cost),
    ):
        assert figure in text
    assert "1 other phrase" in text
    assert "comparisons with unpruned" not in text
    assert "Only in A: 3, only in B: 1." in text


def test_the_comparison_with_the_unpruned_model_is_told_apart(tmp_path: Path) -> None:
    rows = [row(number, ALIKE) for number in range(6)]
    make_output(tmp_path / "a", rows, baseline_images=3)
    make_output(tmp_path / "b", rows, rule="none")
    compare(tmp_path / "a/out", tmp_path / "b/out", tmp_path / "c")
    text = (tmp_path / "c/compare.html").read_text()
    assert "The same without comparisons with unpruned" in text
    assert "none, all tokens kept" in text


def test_pictures_are_of_what_differs_most(compared: tuple[Comparison, Path, list[str]]) -> None:
    page = tinyhtml5.parse((compared[1] / "compare.html").read_text())
    figures = [one for one in page.findall(".//{*}figure") if one.find("{*}img") is not None]
    phrases = [one.find(".//{*}span[@class='phrase']").text for one in figures]
    assert set(phrases) == {MOVED, UNSEEN}
    assert phrases == sorted(phrases)  # those with a mask in both come first
    assert "B empty" in "".join(figures[-1].itertext())


def test_what_data_say_stays_text_and_images_that_are_gone_are_told(tmp_path: Path) -> None:
    rows = [row(number, *(f"{one} of it" for one in HOSTILE)) for number in range(2)]
    make_output(tmp_path / "a", rows)
    for one in rows:
        one["image"] = row(50)["image"]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    parts = tmp_path / "b/out/records/part-00000.parquet"
    _without_masks(parts)
    (tmp_path / "a/in.parquet").unlink()
    compare(tmp_path / "a/out", tmp_path / "b/out", tmp_path / "c")
    text = (tmp_path / "c/compare.html").read_text()
    assert text.count("No picture: ") == 2
    assert "<script" not in text
    assert 'onerror="' not in text
    assert "hunter2secret" not in text


def _without_masks(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    at = table.schema.get_field_index("status")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(["empty"] * len(table))), path)
