"""A comparison as a page: how far two runs agree, on what they do not, and what each cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from litelvlm.config import UNPRUNED
from litelvlm.pipeline.compare.comparison import Comparison, RunFacts
from litelvlm.pipeline.compare.costs import RunCosts
from litelvlm.pipeline.compare.pieces import RecordPieces
from litelvlm.pipeline.compare.tally import ONLY_A, ONLY_B, SHARES_AT, Figures
from litelvlm.pipeline.compare.worst import PickedPair, Worst
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report import charts, words
from litelvlm.pipeline.report.pictures import PAIR_COLOURS, SourceImages, draw_pair
from litelvlm.pipeline.report.rendering import render_page
from litelvlm.pipeline.schemas import STATUS_OK
from litelvlm.pipeline.storage.store import Storage

PAGE_NAME = "compare.html"
FIGURES = ("Records", "Agree", "Mean IoU", "Median", *(f"IoU ≥ {at:g}" for at in SHARES_AT), "")
_SHOWN_CLASSES = 40
_MAX_PHRASE, _MAX_ORIGIN = 160, 80  # characters in a caption
_PACKAGES = ("litelvlm.pipeline.compare", "litelvlm.pipeline.report")


def write_page(
    output: Storage,
    comparison: Comparison,
    worst: Worst,
    first: RecordPieces,
    second: RecordPieces,
    run: RunConfig,
    storage: Storage,
) -> None:
    """Write `compare.html`. An image that cannot be read becomes a note.

    `first` and `second` are the records of both runs; images are read as the first run, of this configuration and
    output, has read them.
    """
    pictures = _pictures([*worst.masks, *worst.one_sided], first, second, SourceImages(storage, run, uri_policy(run)))
    classes = comparison.by_category
    values = {
        "sentence": _sentence(comparison),
        "swatches": [charts.colour_swatch(colour) for colour in PAIR_COLOURS],
        "cards": _cards(comparison),
        "agree": f"{comparison.agree_iou:g}",
        "runs": _run_rows(comparison.a, comparison.b),
        "costs": _cost_rows(comparison.a, comparison.b),
        "any_baseline": _any_baseline(comparison.a, comparison.b),
        "columns": list(FIGURES),
        "answers": _rows(comparison.by_answer),
        "statuses": _status_rows(comparison),
        "sizes": _rows(comparison.by_size),
        "words": _rows(comparison.by_words),
        "classes": _rows(dict(list(classes.items())[:_SHOWN_CLASSES])) if len(classes) > 1 else [],
        "more_classes": max(len(classes) - _SHOWN_CLASSES, 0),
        "histogram": _histogram(comparison.iou_bins),
        "masks": pictures[: len(worst.masks)],
        "one_sided": pictures[len(worst.masks) :],
    }
    redact = Redactor(run.storage_options)
    page = render_page("compare.html", values, redact=redact, styles=["report.css"], packages=_PACKAGES)
    output.write_bytes(PAGE_NAME, page.encode())


def _sentence(comparison: Comparison) -> str:
    records = comparison.records
    left_out = [f"{words.count(count)} {reason}" for reason, count in comparison.left_out.items()]
    not_compared = f"; not compared: {', '.join(left_out)}" if left_out else ""
    return (
        f"{words.count(records['compared'])} of {words.count(records['both'])} records that both runs have are "
        f"compared{not_compared}. Only in A: {words.count(records['only_a'])}, only in B: "
        f"{words.count(records['only_b'])}."
    )


def _cards(comparison: Comparison) -> list[tuple[str, str, list[str]]]:
    overall, groups = comparison.overall, comparison.by_answer
    one_sided = [groups[name].records if name in groups else 0 for name in (ONLY_A, ONLY_B)]
    share = sum(one_sided) / overall.records if overall.records else None
    return [
        ("Agree", words.percent(overall.agree), [f"of {words.count(overall.records)} at IoU {comparison.agree_iou:g}"]),
        ("Mean IoU", words.score(overall.mean_iou), [f"median {words.score(overall.median_iou)}"]),
        (
            "A mask in one run only",
            words.percent(share),
            [f"{words.count(one_sided[0])} in A only, {words.count(one_sided[1])} in B only"],
        ),
    ]


def _run_rows(a: RunFacts, b: RunFacts) -> list[tuple[str, ...]]:
    def tokens(one: RunFacts) -> str:
        is_all = one.num_retain_tokens is None or one.rule == UNPRUNED
        return f"{one.rule}, {'all' if is_all else one.num_retain_tokens} tokens kept"

    return [
        ("Run", a.path, b.path),
        ("Model", f"{a.model} (revision {a.model_revision})", f"{b.model} (revision {b.model_revision})"),
        ("Pruning", tokens(a), tokens(b)),
        ("Layout, precision", f"{a.layout}, {a.precision}", f"{b.layout}, {b.precision}"),
        ("Records", words.count(a.records), words.count(b.records)),
    ]


def _cost_rows(a: RunFacts, b: RunFacts) -> list[tuple[str, ...]]:
    both = a.costs, b.costs
    rows = [
        ("Devices", *(", ".join(one.devices[:3]) or words.NONE for one in both), ""),
        ("Images", *(words.count(one.images) for one in both), ""),
        ("Device time held, start-up and idle included", *_beside(both, "device_s", words.hours)),
    ]
    if _any_baseline(a, b):
        rows += [
            ("The same without comparisons with unpruned", *_beside(both, "annotating_s", words.hours)),
            ("Phrases per second of it", *_beside(both, "phrases_per_device_s", words.short)),
        ]
    rows += [
        ("Wall time, pauses left out", *_beside(both, "wall_s", words.seconds)),
        ("Images/s", *_beside(both, "images_per_s", words.short)),
        ("Phrases/s", *_beside(both, "phrases_per_s", words.short)),
    ]
    if any(one.gpu_price is not None for one in both):
        rows += [
            ("Price of a device hour", *(words.money(one.gpu_price) for one in both), ""),
            ("Cost", *_beside(both, "cost", words.money)),
            ("Cost of 1,000 phrases", *_beside(both, "cost_per_1000_phrases", words.money)),
        ]
    return rows


def _any_baseline(a: RunFacts, b: RunFacts) -> bool:
    return any(one.costs.baseline_s for one in (a, b))


def _beside(both: tuple[RunCosts, RunCosts], name: str, say: Callable[[float | None], str]) -> tuple[str, str, str]:
    """A figure of both, and the second over the first."""
    a, b = (getattr(one, name) for one in both)
    return say(a), say(b), words.times(b / a) if a and b is not None else words.NONE


def _rows(groups: Mapping[str, Figures]) -> list[tuple[str | Markup, ...]]:
    return [
        (
            name,
            words.count(one.records),
            words.percent(one.agree),
            words.score(one.mean_iou),
            words.score(one.median_iou),
            *(words.percent(one.shares.get(f"{at:g}")) for at in SHARES_AT),
            charts.meter(one.agree),
        )
        for name, one in groups.items()
    ]


def _status_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    total = comparison.records["both"]
    ordered = sorted(comparison.statuses, key=lambda one: -one["records"])
    return [(one["a"], one["b"], words.count(one["records"]), words.percent(one["records"] / total)) for one in ordered]


def _histogram(bins: Sequence[int]) -> Markup | None:
    label = f"Records with a mask in both runs by IoU, from 0 to 1: {words.count(sum(bins))}"
    return charts.histogram(bins, label=label, low="0", high="1") if sum(bins) else None


def _pictures(
    picks: Sequence[PickedPair], first: RecordPieces, second: RecordPieces, images: SourceImages
) -> list[dict[str, Any]]:
    a, b = (
        pieces.take(np.array([getattr(one, place) for one in picks], np.int64)).to_pylist()
        for pieces, place in ((first, "place_a"), (second, "place_b"))
    )
    loaded = images.load(dict.fromkeys(one.image for one in picks))
    found = []
    for pick, one, other in zip(picks, a, b, strict=True):
        masks = [row["mask_rle"] if row["status"] == STATUS_OK else None for row in (one, other)]
        picture = draw_pair(loaded[pick.image], (one["height"], one["width"]), *masks)
        answers = ", ".join(f"{run} {_answer(row)}" for run, row in (("A", one), ("B", other)))
        found.append(
            {
                "picture": picture,
                "uri": Markup(picture.uri) if picture.uri else None,  # base64 of our own
                "figure": f"IoU {words.score(pick.iou)}",
                "phrase": words.clipped(one["phrase"], _MAX_PHRASE),
                "origin": f"{answers} · {words.clipped(one['image_id'], _MAX_ORIGIN)}",
            }
        )
    return found


def _answer(row: Mapping[str, Any]) -> str:
    return words.score(row["score"]) if row["status"] == STATUS_OK else row["status"]
