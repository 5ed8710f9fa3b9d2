"""What signals are measured with: twins of phrases, AUROC, combinations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.signals import as_markdown, auroc, combine, measure, summarise, twins
from litelvlm.demo.objects import COLOURS, SHAPES
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene


def test_a_twin_has_the_form_of_a_phrase_and_no_object() -> None:
    kinds = set()
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 40):
        scene = draw_scene(seed)
        pairs = {(item.colour, item.shape) for item in scene.objects}
        colours, shapes = ({pair[part] for pair in pairs} for part in (0, 1))
        forms = {_form(phrase) for phrase in scene.phrases}
        for phrase, kind in twins(scene):
            kinds.add(kind)
            assert _form(phrase) in forms
            words = phrase.split()
            at = next(place for place, word in enumerate(words) if word in SHAPES)
            named = (words[at - 1], words[at])
            assert named not in pairs
            assert not (named[0] not in COLOURS and named[1] in shapes)
            known = named[1] in shapes and (named[0] in colours or named[0] not in COLOURS)
            assert kind == ("apart" if known else "foreign")
    assert kinds == {"apart", "foreign"}


def _form(phrase: str) -> tuple[str, ...]:
    return tuple("C" if word in COLOURS else "S" if word in SHAPES else word for word in phrase.split())


def test_auroc_is_that_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(0)
    risk, is_bad = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.4
    expected = stats.mannwhitneyu(risk[is_bad], risk[~is_bad]).statistic / (is_bad.sum() * (~is_bad).sum())
    assert auroc(risk, is_bad) == pytest.approx(expected)
    assert np.isnan(auroc(risk, np.zeros(80, bool)))


def test_a_combination_is_fitted_on_its_part_alone_and_finds_the_signal_that_tells() -> None:
    rng = np.random.default_rng(0)
    good = rng.random(400) < 0.5
    rows = {"tells": good + rng.normal(0, 0.3, 400), "noise": rng.normal(0, 1, 400), "iou": np.where(good, 0.9, 0.1)}
    fitted = np.arange(400) < 200
    odds = combine(rows, fitted, ("tells", "noise"))
    assert auroc(-odds[~fitted], ~good[~fitted]) > 0.95
    spoilt = {name: np.where(fitted, values, 0.7) for name, values in rows.items()}
    np.testing.assert_array_equal(combine(spoilt, fitted, ("tells", "noise"))[fitted], odds[fitted])


@pytest.mark.slow
def test_a_few_scenes_are_measured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.signals._SAMPLES", 20)
    rows = measure(range(HELD_OUT_SEED, HELD_OUT_SEED + 12), 48)
    is_absent = rows["kind"] != "present"
    assert not rows["iou"][is_absent].any()
    assert rows["iou"][~is_absent].mean() > 0.5
    assert np.isfinite(rows["clip_similarity"]).all()
    assert not np.array_equal(rows["clip_similarity"], rows["clip, all kept"])
    found = summarise(rows)
    one = found["signals"]["score"]["spearman"]
    assert one["low"] <= one["value"] <= one["high"]
    assert one["n"] == (~is_absent).sum()
    gain, own, score = (
        found[part][name]["auroc_bad"]["value"]
        for part, name in (
            ("gain_over_score", "combined"), ("held_out", "combined"), ("held_out", "score, same half"),
        )
    )  # fmt: skip
    assert gain == pytest.approx(own - score)
    facts = {
        "scenes": 12, "phrases": dict.fromkeys(("present", "apart", "foreign"), 1), "empty": {"present": 0},
        "measured_on": {"date": "2026-01-01", "cores": 2}, "rule": "context", "num_retain_tokens": 48, "wall_s": 1.0,
        "bad_share_of_present": 0.1,
    }  # fmt: skip
    page = as_markdown(facts | found)
    assert page.count("\n| score |") == 1
    assert "| combined with clip | +" in page or "| combined with clip | -" in page
