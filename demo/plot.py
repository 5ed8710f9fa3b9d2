"""The training curves as one picture."""

from __future__ import annotations

import csv
from pathlib import Path

PANELS = (
    ("clip", ("retrieval_accuracy", "shape_accuracy"), "CLIP: right caption of a batch; shape under a patch"),
    ("masks", ("mean_iou",), "grounding encoder, oracle prompts: IoU"),
    ("language", ("located",), "language model: object located to a patch"),
    ("joint", ("mean_iou", "located"), "joint, tokens dropped in 3 of 4 batches: IoU; located"),
)


def plot_curves(directory: Path, output: Path) -> None:
    """Draws each stage's curve from its CSV file in `directory`; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (stage, columns, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        path = directory / f"{stage}.csv"
        for column in columns if path.is_file() else ():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if row.get(column)]
            axes.plot([int(row["step"]) for row in rows], [float(row[column]) for row in rows], ".-", label=column)
        axes.set(title=title, xlabel="step", ylim=(0, 1))
        if path.is_file():
            axes.legend(loc="lower right")
        axes.grid(alpha=0.3)
    figure.savefig(output, dpi=100)
