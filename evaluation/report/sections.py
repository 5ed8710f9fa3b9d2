"""What stands in the sections of `evaluation.html`, from rows of `RESULT_SCHEMA`.

A variant is a rule with its order and positions; its seeds are averaged in charts and in the matrix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

from litelvlm.config import UNPRUNED
from litelvlm.evaluation.config import EvaluationConfig, remark
from litelvlm.evaluation.report.charts import Point, RuleCurve, cost_ticks, curves, interval
from litelvlm.evaluation.report.published import AVERAGE, Published, published, source, splits
from litelvlm.pipeline.report import words
from litelvlm.pipeline.report.charts import swatch

Row = dict[str, Any]
_COLOURS = 14
_SAME_SHARE = 0.01  # budgets whose shares of all tokens differ by less are the same
_NOT_PUBLISHED = (
    "No published numbers are about these data. Beside the paper’s average over eight splits of RefCOCO, RefCOCO+ and "
    "RefCOCOg stands what the same rule does here at the same share of tokens; compare the shares of the unpruned "
    "model’s cIoU, not the values."
)
_SLICE_CAPTIONS = {"words": "By length of the expression", "object_size": "By size of the object", "kind": "By kind"}


def variant_of(row: Row) -> str:
    """A rule's name, with its order and positions where they are not the defaults."""
    return row["rule"] + remark(row["order"], row["positions"])


def header(rows: Sequence[Row], summary: Row) -> Row:
    """The page's beginning."""
    first = rows[0]
    failed = first["failed"]
    count = first["expressions"] + failed
    encode = next((row["encode_s"] for row in rows if row["encode_s"] is not None), None)
    return {
        "dataset": summary["dataset"],
        "model": f"{summary['model']} {summary['model_revision']}",
        "protocol": summary["protocol"],
        "sentence": (
            f"{words.count(first['expressions'])} expressions on {words.count(first['images'])} images, under "
            f"{words.count(len(rows))} combinations of rule, budget, order, positions and seed."
        ),
        "failed": f"{words.count(failed)} of {words.count(count)} expressions failed and are in no metric."
        if failed
        else "",
        "devices": ", ".join(summary["devices"]),
        "encode": _milliseconds(encode),
    }


def legend(rows: Sequence[Row]) -> list[tuple[Markup, str]]:
    """Colours of the variants."""
    return [(swatch(_css(index)), name) for index, name in enumerate(_by_variant(rows))]


def budget_chart(rows: Sequence[Row]) -> Markup:
    """gIoU by budget; the unpruned model stands at all tokens."""
    data = [
        RuleCurve(name=name, css=_css(index), points=[_point(one, one[0]["num_retain_tokens"]) for one in budgets])
        for index, (name, budgets) in enumerate(_by_variant(rows).items())
    ]
    ticks = [(float(tokens), str(tokens)) for tokens in sorted({row["num_retain_tokens"] for row in rows})]
    label = "gIoU by tokens kept, a curve for each rule"
    return curves(data, label=label, ticks=ticks, logarithmic=True, reference=_unpruned(rows, "giou"))


def cost_chart(rows: Sequence[Row]) -> Markup:
    """gIoU by measured seconds."""
    known = [row for row in rows if row["answer_s"] is not None]
    data = [
        RuleCurve(
            name=name, css=_css(index), points=[_point(one, _mean(row["answer_s"] for row in one)) for one in budgets]
        )
        for index, (name, budgets) in enumerate(_by_variant(known).items())
    ]
    most = max((row["answer_s"] for row in known), default=0.0)
    return curves(
        data,
        label="gIoU by measured seconds per expression",
        ticks=cost_ticks(most),
        logarithmic=False,
        reference=_unpruned(rows, "giou"),
    )


def matrix(rows: Sequence[Row]) -> Row:
    """cIoU of every variant at every budget."""
    budgets = sorted({row["num_retain_tokens"] for row in rows if row["rule"] != UNPRUNED}, reverse=True)
    table = []
    for name, own in _by_variant(rows).items():
        found = {one[0]["num_retain_tokens"]: one for one in own}
        if name == UNPRUNED:
            [one] = own
            table.append([f"none ({one[0]['num_retain_tokens']} tokens)", _ciou(one), *[""] * (len(budgets) - 1)])
        else:
            table.append([name, *(_ciou(found[tokens]) if tokens in found else words.NONE for tokens in budgets)])
    columns = ["Rule", *(f"{tokens} tokens" for tokens in budgets)] if budgets else ["Rule", "All tokens"]
    return {"columns": columns, "rows": table, "numeric": list(range(1, len(columns)))}


def contrast_rows(found: Iterable[Row]) -> list[list[str]]:
    """Lines of the table of questions."""
    return [
        [
            one["question"],
            one["compared"],
            words.count(one["num_retain_tokens"]),
            f"{one['difference']:+.3f}",
            f"{one['low']:+.3f} to {one['high']:+.3f}",
            one["answer"],
        ]
        for one in found
    ]


def beside_published(rows: Sequence[Row], dataset: str) -> Row:
    """The published split of this name, or the published average where the data set is another."""
    is_published = dataset in splits()
    split = dataset if is_published else AVERAGE
    sentence = f"The paper’s cIoU on {split} beside this evaluation’s." if is_published else _NOT_PUBLISHED
    unpruned = _unpruned(rows, "ciou")
    table = [_beside(one, rows, unpruned) for one in published(split)]
    name = "average" if split == AVERAGE else split
    return {"sentence": sentence, "source": source(), "split": name, "rows": table}


def slices(rows: Sequence[Row]) -> Row:
    """gIoU of every variant on every slice, at one budget."""
    total = rows[0]["num_visual_tokens"]
    budgets = {row["num_retain_tokens"] for row in rows if row["rule"] != UNPRUNED} or {total}
    budget = min(budgets, key=lambda tokens: abs(tokens - total / 3))
    chosen = [row for row in rows if row["rule"] == UNPRUNED or row["num_retain_tokens"] == budget]
    tables = []
    for dimension, caption in _SLICE_CAPTIONS.items():
        own = [row for row in chosen if row["slice_by"] == dimension]
        names = list(dict.fromkeys(row["slice"] for row in own))
        if len(names) < 2:
            continue
        counts = {row["slice"]: row["expressions"] for row in own}
        columns = ["Rule", *(f"{name} ({words.count(counts[name])})" for name in names)]
        tables.append((caption, columns, list(_slice_lines(own, names))))
    return {"budget": budget, "tables": tables}


def metrics(rows: Sequence[Row]) -> Row:
    """Every number of every combination."""
    names = {
        "ciou": "cIoU", "giou": "gIoU", "p_at_0.5": "P@0.5", "p_at_0.6": "P@0.6", "p_at_0.7": "P@0.7",
        "p_at_0.8": "P@0.8", "p_at_0.9": "P@0.9", "n_acc": "N-acc", "t_acc": "T-acc", "boundary_f": "F",
        "coverage": "Coverage", "score_rank_correlation": "Rank",
    }  # fmt: skip
    table = [
        [
            variant_of(row),
            str(row["num_retain_tokens"]),
            str(row["seed"]),
            *(words.score(row[name]) for name in names),
            _milliseconds(row["answer_s"]),
            _milliseconds(row["llm_s"]),
            f"{1e12 * row['llm_tflop'] / 1e9:.3g}" if row["llm_tflop"] is not None else words.NONE,
        ]
        for row in rows
    ]
    columns = ["Rule", "Tokens", "Seed", *names.values(), "Answer", "of it the language model", "GFLOP of it"]
    return {"columns": columns, "rows": table, "numeric": list(range(1, len(columns)))}


def settings(config: EvaluationConfig, summary: Row) -> list[tuple[str, str]]:
    """What was run, for whoever wants to run it again."""
    sweep, run = config.sweep, config.run
    return [
        ("Data", ", ".join(run.source.input)),
        ("Rows", f"limit {run.source.limit or 'none'}, sample {run.source.sample or 'none'}"),
        ("Masks", f"column {run.source.mask_column}"),
        ("Model", f"{summary['model']}, revision {summary['model_revision']}, precision {run.model.precision}"),
        ("Protocol", summary["protocol"]),
        ("Rules", ", ".join(sweep.rules)),
        ("Budgets", ", ".join(map(str, sweep.budgets)) + f" of {summary['num_visual_tokens']}"),
        ("Orders", ", ".join(sweep.orders)),
        ("Positions", ", ".join(sweep.positions)),
        ("Seeds", ", ".join(map(str, sweep.seeds))),
        ("FastV’s layer", str(sweep.fastv_layer)),
        ("Intervals", f"95 %, {config.bootstrap_samples} bootstrap samples of images"),
        (
            "Device time",
            f"{words.seconds(summary['encode_s'])} encoding, {words.seconds(summary['answer_s'])} answering",
        ),
    ]


def _unpruned(rows: Iterable[Row], metric: str) -> float | None:
    return next((row[metric] for row in rows if row["rule"] == UNPRUNED), None)


def _by_variant(rows: Iterable[Row]) -> dict[str, list[list[Row]]]:
    """Variant -> budgets from small to large -> its rows, one for each seed."""
    found: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[variant_of(row)][row["num_retain_tokens"]].append(row)
    return {name: [own[tokens] for tokens in sorted(own)] for name, own in found.items()}


def _point(rows: Sequence[Row], x: float | None) -> Point:
    giou, low, high = (_mean(row[name] for row in rows) for name in ("giou", "giou_low", "giou_high"))
    title = f"{rows[0]['num_retain_tokens']} tokens, gIoU {interval(giou, low, high)}"
    return Point(x=float(x or 0.0), y=giou or 0.0, low=low, high=high, title=title)


def _ciou(rows: Sequence[Row]) -> str:
    return interval(*(_mean(row[name] for row in rows) for name in ("ciou", "ciou_low", "ciou_high")))


def _beside(one: Published, rows: Sequence[Row], unpruned: float | None) -> list[str]:
    share = one.num_retain_tokens / one.num_visual_tokens
    own = [
        row
        for row in rows
        if row["rule"] == one.rule
        and (row["order"], row["positions"]) == ("auto", "compact")
        and abs(row["num_retain_tokens"] / row["num_visual_tokens"] - share) < _SAME_SHARE
    ]
    here = _mean(row["ciou"] for row in own)
    return [
        one.method,
        one.rule,
        str(one.num_retain_tokens),
        f"{100 * one.ciou:.1f}",
        words.percent(one.of_unpruned),
        str(own[0]["num_retain_tokens"]) if own else words.NONE,
        f"{100 * here:.1f}" if here is not None else words.NONE,
        words.percent(here / unpruned) if here is not None and unpruned else words.NONE,
    ]


def _slice_lines(rows: Sequence[Row], names: Sequence[str]) -> Iterator[list[str]]:
    by_variant: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_variant[variant_of(row)][row["slice"]].append(row)
    for variant, own in by_variant.items():
        yield [variant, *(words.score(_mean(row["giou"] for row in own.get(name, ()))) for name in names)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _milliseconds(value_s: float | None) -> str:
    return f"{1000 * value_s:.2f} ms" if value_s is not None else words.NONE


def _css(index: int) -> str:
    return f"r-{index % _COLOURS}"
