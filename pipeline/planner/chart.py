"""Cost against quality, with the plans that no other one beats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.plans import Plan, pareto

_FORMATS = (".png", ".svg", ".pdf")
_NAMES = {"agreement": "agreement with unpruned masks (mean IoU)", "gIoU": "gIoU with ground truth"}
# Okabe and Ito's colours, told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def check_chart(path: str) -> None:
    """Raise UsageError where no chart can be written to such a file."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise UsageError(f"--chart {path}: must end in {', '.join(_FORMATS)}")
    if not Path(path).parent.is_dir():
        raise UsageError(f"--chart {path}: no such directory")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("--chart needs matplotlib: pip install 'litelvlm-annotate[plan]'") from error


def draw_chart(plans: Sequence[Plan], path: str, *, currency: str, title: str) -> None:
    """Write the chart; the quality that most plans have is shown. Raises UsageError where none has one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind, points = _points(plans)
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    offers = list(dict.fromkeys(plan.offer.name for plan, _ in points))
    for number, name in enumerate(offers):
        own = [(plan, quality) for plan, quality in points if plan.offer.name == name]
        for plan, quality in own:
            filled = not plan.forecast.extrapolated and plan.speed == 1.0
            colour = _COLOURS[number % len(_COLOURS)]
            axes.scatter(
                plan.cost, quality, s=46, edgecolors=colour, facecolors=colour if filled else "white", zorder=3
            )
            axes.annotate(_label(plan), (plan.cost, quality), xytext=(7, -11), textcoords="offset points", fontsize=7)
        axes.scatter([], [], color=_COLOURS[number % len(_COLOURS)], label=f"{name} ({own[0][0].offer.instance})")
    front = [points[number] for number in pareto([(plan.cost, quality) for plan, quality in points])]
    axes.plot(
        [plan.cost for plan, _ in front], [quality for _, quality in front], "--", color="grey", label="Pareto front"
    )
    axes.margins(x=0.3, y=0.15)
    axes.grid(alpha=0.3)
    axes.set(xlabel=f"cost, {currency}", ylabel=_NAMES[kind])
    axes.set_title(f"{title}\nhollow: outside what was measured, or on a device of a given --speed-ratio", fontsize=9)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=130)


def _points(plans: Sequence[Plan]) -> tuple[str, list[tuple[Plan, float]]]:
    kinds = Counter(item.kind for plan in plans for item in plan.forecast.quality)
    if not kinds:
        raise UsageError("--chart: no plan has a measured quality; run with --baseline-images")
    most = max(kinds.values())
    kind = next(kind for kind in ("gIoU", "agreement") if kinds[kind] == most)
    return kind, [(plan, item.value) for plan in plans for item in plan.forecast.quality if item.kind == kind]


def _label(plan: Plan) -> str:
    setting = plan.forecast.setting
    return f"{setting.layout}, {setting.tokens} tokens"
