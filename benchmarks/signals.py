"""What signals are worth on drawn scenes with the shipped checkpoint: `python -m benchmarks.signals`.

Every scene is asked its own phrases and, of each, a twin of which there is no object: the same phrase with another
colour or shape, which is in the scene on another object ("apart") or nowhere ("foreign"). Twins have the words' form in
common with the phrases, so that the form tells nothing. Masks are then held against the truth: Spearman's correlation
with the true IoU of objects that are there; AUROC for "there is no such object" and for "IoU below 0.5", where there is
none counting as 0, and of those that are there alone. Combinations are logistic regressions for "IoU below 0.5", fitted
on half of the scenes and measured on the other half. Intervals are of 1,000 bootstrap samples of scenes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats

from benchmarks.hardware import describe
from litelvlm import AnnotationRequest, AnnotationResult, Annotator, PruningConfig
from litelvlm.demo.objects import COLOURS, SHAPES
from litelvlm.demo.scenes import HELD_OUT_SEED, Scene, draw_scene
from litelvlm.pipeline.masks import encode_answers, mask_iou
from litelvlm.pipeline.stages.mask_signals import fill_overlaps, mask_shape

RESULTS = Path(__file__).resolve().parent / "results"
FIRST_SEED = HELD_OUT_SEED + 20_000  # beyond the scenes of other measurements
RULE = "context"
KINDS = ("present", "apart", "foreign")
#: Signal -> 1 where a high value speaks for the mask, -1 where it speaks against it.
SIGNALS = {
    "score": 1,
    "clip_similarity": 1,
    "clip, half kept": 1,
    "clip, all kept": 1,
    "agreement": 1,
    "overlap": -1,
    "num_equal": -1,
    "components": -1,
    "holes": -1,
    "area_share": 1,
    "borders": -1,
}
#: Other shares of what lies beside a mask that CLIP is shown.
KEPT = {"clip, half kept": 0.5, "clip, all kept": 1.0}
_ALWAYS = ("score", "overlap", "components", "holes", "area_share")  # columns that every run has
COMBINED = {
    "combined": _ALWAYS,
    "combined with clip": (*_ALWAYS, "clip_similarity"),
    "combined with clip and agreement": (*_ALWAYS, "clip_similarity", "agreement"),
}
REFERENCE = "score, same half"
MEASURES = {
    "spearman": "Spearman with IoU (present)",
    "auroc_absent": "AUROC absent",
    "auroc_apart": "AUROC words apart",
    "auroc_bad": "AUROC IoU < 0.5",
    "auroc_bad_present": "AUROC IoU < 0.5 (present)",
}
_BATCH, _SAMPLES = 16, 1000
Floats = NDArray[np.float64]
Rows = dict[str, NDArray[Any]]


def main() -> int:
    """Measures and writes; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--num-retain-tokens", type=int, default=48)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.monotonic()
    rows = measure(range(FIRST_SEED, FIRST_SEED + options.scenes), options.num_retain_tokens)
    wall_s = round(time.monotonic() - started, 1)
    is_kind = {kind: rows["kind"] == kind for kind in KINDS}
    is_empty = rows["area_share"] == 0
    found = {
        "measured_on": describe(),
        "scenes": options.scenes,
        "num_retain_tokens": options.num_retain_tokens,
        "rule": RULE,
        "wall_s": wall_s,
        "phrases": {kind: int(some.sum()) for kind, some in is_kind.items()},
        "empty": {kind: int((some & is_empty).sum()) for kind, some in is_kind.items()},
        "bad_share_of_present": float((rows["iou"][is_kind["present"]] < 0.5).mean()),
        **summarise(rows),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "signals.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "signals.md").write_text(as_markdown(found))
    print(as_markdown(found))
    return 0


def measure(seeds: range, num_tokens: int) -> Rows:
    """A row for every phrase: scene, kind, true IoU, and its signals."""
    annotator = Annotator.from_pretrained("demo")
    pruning, whole = PruningConfig(num_retain_tokens=num_tokens, rule=RULE), PruningConfig(rule="none")
    rows: list[dict[str, Any]] = []
    for start in range(0, len(seeds), _BATCH):
        scenes = [draw_scene(seed) for seed in seeds[start : start + _BATCH]]
        asked = [[*((phrase, "present") for phrase in scene.phrases), *twins(scene)] for scene in scenes]
        requests = [
            AnnotationRequest(image=scene.image, phrases=[phrase for phrase, _ in own])
            for scene, own in zip(scenes, asked, strict=True)
        ]
        pruned = annotator.annotate(requests, pruning, signals=("clip",))
        unpruned = annotator.annotate(requests, whole, keep_logits=False)
        for scene, own, result, other in zip(scenes, asked, pruned, unpruned, strict=True):
            compared = {name: _similarity(annotator, scene, own, result, kept) for name, kept in KEPT.items()}
            rows += _rows(scene, own, result, other, compared)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def twins(scene: Scene) -> list[tuple[str, str]]:
    """Of each phrase one of which the scene has no object, and its kind; none where there is no such phrase."""
    rng = np.random.default_rng(scene.seed)
    found: list[tuple[str, str]] = []
    for phrase in scene.phrases:
        choices = _twins_of(phrase, {(item.colour, item.shape) for item in scene.objects})
        choices = [one for one in choices if one not in found]
        kinds = sorted({kind for _, kind in choices})
        if kinds:
            kind = kinds[int(rng.integers(len(kinds)))]
            own = [one for one in choices if one[1] == kind]
            found.append(own[int(rng.integers(len(own)))])
    return found


def _twins_of(phrase: str, pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Phrases that differ in the colour or the shape of what is asked for, with their kinds."""
    words = phrase.split()
    at = next(place for place, word in enumerate(words) if word in SHAPES)
    colours, shapes = ({pair[part] for pair in pairs} for part in (0, 1))
    found = []
    if words[at - 1] in COLOURS:
        for colour, shape in [(one, words[at]) for one in COLOURS] + [(words[at - 1], one) for one in SHAPES]:
            if (colour, shape) not in pairs:
                kind = "apart" if colour in colours and shape in shapes else "foreign"
                found.append((" ".join([*words[: at - 1], colour, shape, *words[at + 1 :]]), kind))
    else:
        others = [shape for shape in SHAPES if shape not in shapes]
        found += [(" ".join([*words[:at], shape, *words[at + 1 :]]), "foreign") for shape in others]
    return found


def _similarity(
    annotator: Annotator, scene: Scene, asked: Sequence[tuple[str, str]], result: AnnotationResult, kept: float
) -> Floats:
    runner: Any = annotator._runner
    image, logits = annotator.preprocessor.prepare(scene.image), torch.from_numpy(result.low_res_logits)
    with torch.inference_mode():
        found: Floats = (
            runner.clip_similarity(image, logits, [phrase for phrase, _ in asked], kept=kept).double().numpy()
        )
    return found


def _rows(
    scene: Scene,
    asked: Sequence[tuple[str, str]],
    result: AnnotationResult,
    other: AnnotationResult,
    compared: dict[str, Floats],
) -> list[dict[str, Any]]:
    assert result.clip_similarity is not None
    records: list[dict[str, Any]] = []
    masks, others = list(encode_answers(result)), list(encode_answers(other))
    for at, ((phrase, kind), mask) in enumerate(zip(asked, masks, strict=True)):
        true, found = scene.masks[at] if kind == "present" else None, result.masks[at]
        height, width = mask.size_hw
        shape = mask_shape(result.run_lengths[at], mask)._asdict() if mask.area else {}
        records.append(
            dict.fromkeys(SIGNALS, np.nan)
            | shape
            | {name: float(values[at]) for name, values in compared.items()}
            | {
                "scene": scene.seed, "kind": kind, "phrase": phrase, "image_key": "", "height": height, "width": width,
                "mask_rle": mask.counts if mask.area else None, "score": float(result.scores[at]),
                "clip_similarity": float(result.clip_similarity[at]), "agreement": mask_iou(mask, others[at]),
                "area_share": mask.area / (height * width),
                "iou": 0.0 if true is None else float((found & true).sum() / max(1, (found | true).sum())),
            }
        )  # fmt: skip
    fill_overlaps(records)
    return [{name: one[name] for name in ("scene", "kind", "iou", *SIGNALS)} for one in records]


def summarise(rows: Rows) -> dict[str, Any]:
    """Each signal on all scenes; combinations, and what they gain over the score, on those they were not fitted on."""
    has_mask = rows["area_share"] > 0
    rows = {name: values[has_mask] for name, values in rows.items()}
    held_out = rows["scene"] % 2 == 1
    part = {name: values[held_out] for name, values in rows.items()}
    combined = {name: combine(rows, ~held_out, columns)[held_out] for name, columns in COMBINED.items()}
    score = part["score"].astype(np.float64)
    return {
        "signals": {name: _worth(rows, sign * rows[name].astype(np.float64)) for name, sign in SIGNALS.items()},
        "held_out": {name: _worth(part, values) for name, values in {REFERENCE: score, **combined}.items()},
        "gain_over_score": {name: _worth(part, values, less=score) for name, values in combined.items()},
    }


def combine(rows: Rows, fitted: NDArray[np.bool_], columns: Sequence[str]) -> Floats:
    """Log odds that a mask has an IoU of 0.5 or more, by a logistic regression with a weak ridge."""
    values = np.stack([rows[name].astype(np.float64) for name in columns], axis=1)
    values = (values - values[fitted].mean(0)) / values[fitted].std(0).clip(1e-9)
    design = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    sign = np.where(rows["iou"] >= 0.5, 1.0, -1.0)[fitted]

    def loss(weights: Floats) -> float:
        return float(np.logaddexp(0, -sign * (design[fitted] @ weights)).mean() + 1e-3 * (weights[:-1] ** 2).sum())

    weights = optimize.minimize(loss, np.zeros(design.shape[1]), method="BFGS").x
    odds: Floats = design @ weights
    return odds


def _worth(rows: Rows, values: Floats, less: Floats | None = None) -> dict[str, dict[str, float]]:
    """How well a signal, high for good, tells, or how much better than another one; each with its interval."""
    present, apart, bad = rows["kind"] == "present", rows["kind"] == "apart", rows["iou"] < 0.5
    everything = np.ones_like(present)

    def spearman(at: NDArray[np.intp], signal: Floats) -> float:
        if np.ptp(signal[at]) == 0:
            return float("nan")
        return float(stats.spearmanr(signal[at], rows["iou"][at]).statistic)

    def auroc_of(is_bad: NDArray[np.bool_]) -> Callable[[NDArray[np.intp], Floats], float]:
        return lambda at, signal: auroc(-signal[at], is_bad[at])

    measures = {
        "spearman": (spearman, present),
        "auroc_absent": (auroc_of(~present), everything),
        "auroc_apart": (auroc_of(apart), present | apart),
        "auroc_bad": (auroc_of(bad), everything),
        "auroc_bad_present": (auroc_of(bad), present),
    }

    def whole(name: str, at: NDArray[np.intp]) -> float:
        measure = measures[name][0]
        return measure(at, values) - (0.0 if less is None else measure(at, less))

    return {
        name: _interval(lambda at, name=name: whole(name, at), rows["scene"], inside)  # type: ignore[misc]
        for name, (_, inside) in measures.items()
    }


def _interval(
    measure: Callable[[NDArray[np.intp]], float], scene: NDArray[Any], inside: NDArray[np.bool_]
) -> dict[str, float]:
    places = np.flatnonzero(inside)
    order = places[np.argsort(scene[places], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(scene[order])) + 1)
    rng = np.random.default_rng(0)
    samples = [
        measure(np.concatenate([groups[at] for at in rng.integers(len(groups), size=len(groups))]))
        for _ in range(_SAMPLES)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    return {"value": measure(places), "low": float(low), "high": float(high), "n": len(places)}


def auroc(risk: Floats, is_bad: NDArray[np.bool_]) -> float:
    """Chance that a bad one has the higher risk, equal ones counting half (Mann and Whitney); NaN without both."""
    num_bad = int(is_bad.sum())
    if not 0 < num_bad < len(is_bad):
        return float("nan")
    ranks = stats.rankdata(risk)
    return float((ranks[is_bad].sum() - num_bad * (num_bad + 1) / 2) / (num_bad * (len(is_bad) - num_bad)))


def as_markdown(found: dict[str, Any]) -> str:
    """The tables that people read."""
    phrases, on = found["phrases"], found["measured_on"]
    empty = ", ".join(f"{count} {kind}" for kind, count in found["empty"].items())
    lines = [
        "# Signals against the truth",
        "",
        f"{found['scenes']} drawn scenes: {phrases['present']} phrases of objects that are there, {phrases['apart']} "
        f"of words that are there on different objects, {phrases['foreign']} of a word that is not. "
        f"Rule {found['rule']}, {found['num_retain_tokens']} of 144 tokens. Empty answers, left out: {empty}. "
        f"Of the present ones {found['bad_share_of_present']:.1%} are below IoU 0.5. 95 % intervals over scenes. "
        f"{on['date']}, {on['cores']} CPU cores; `python -m benchmarks.signals`, {found['wall_s']:.0f} s.",
    ]
    titles = {
        "signals": "Each signal, on all scenes",
        "held_out": "Combinations, on the half of the scenes that they were not fitted on",
        "gain_over_score": "What combinations gain over the score, on the same half",
    }
    for part, title in titles.items():
        lines += ["", f"## {title}", "", f"| | {' | '.join(MEASURES.values())} |", "|---" * (1 + len(MEASURES)) + "|"]
        sign = "+" if part == "gain_over_score" else ""
        for name, one in found[part].items():
            lines.append(f"| {name} | {' | '.join(_cell(one[measure], sign) for measure in MEASURES)} |")
    return "\n".join([*lines, ""])


def _cell(found: dict[str, float], sign: str) -> str:
    if not np.isfinite(found["value"]):
        return "–"
    return f"{found['value']:{sign}.3f} ({found['low']:{sign}.3f} to {found['high']:{sign}.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
