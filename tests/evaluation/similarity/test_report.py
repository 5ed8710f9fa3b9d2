"""The page: what it says, and that nothing of the data is markup."""

from __future__ import annotations

import re

from litelvlm.evaluation.similarity.examples import Chooser
from litelvlm.evaluation.similarity.report import render
from litelvlm.evaluation.similarity.summary import SimilarityTally
from litelvlm.pipeline.redact import Redactor
from tests.evaluation.similarity.samples import measured, unmeasured

FACTS = {
    "dataset": "<b>data</b>", "model": "demo", "clip": None, "model_revision": "r", "device": "cpu",
    "text": "question", "question": "Where is {phrase}?", "inside": 0.5, "num_patches": 4,
}  # fmt: skip
HOSTILE = "<script>alert(1)</script>\u202e"


def page(*, empty: bool = False) -> str:
    tally, chooser = SimilarityTally(), Chooser(1)
    if not empty:
        for one in (measured([0, 1, 2, 3], [1, 1, 0, 0], phrase=HOSTILE, image=HOSTILE), unmeasured("no_target")):
            tally.add(one)
            chooser.add(one)
    summary = FACTS | tally.as_json(num_samples=20)
    return render(summary, tally, chooser.examples(0), Redactor({"secret": "hunter22"}))


def test_the_page_says_what_the_figures_say() -> None:
    text = page()
    assert "Patches inside are less similar to the text than those outside." in text
    assert "1 phrases on 1 images; left out: 1 without a target." in text
    assert "0.000 (0.000 to 0.000)" in text
    assert "−2.000 (−2.000 to −2.000)" in text
    assert text.count("<img src=") == 3
    assert text.count('<svg class="chart"') == 2


def test_nothing_of_the_data_is_markup_or_runs() -> None:
    text = page()
    assert "<script" not in text
    assert "<b>data" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text
    assert re.search(r'Content-Security-Policy" content="default-src .none.', text)


def test_without_a_record_there_is_nothing_to_compare() -> None:
    text = page(empty=True)
    assert "There is nothing to compare." in text
    assert "<img" not in text
