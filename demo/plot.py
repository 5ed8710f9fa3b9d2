"""The training curves as one picture."""

from __future__ import annotations

import csv
from pathlib import Path

PANELS = (
    ("clip", "retrieval_accuracy", "CLIP: right caption of 128"),
    ("masks", "mean_iou", "grounding encoder, oracle prompts: IoU"),
    ("language", "located", "language model: object located to a patch"),
    ("joint", "mean_iou", "joint: IoU (tokens dropped in 3 of 4 batches)"),
)


def plot_curves(directory: Path, output: Path) -> None:
    """Draws each stage's curve from its CSV file in `directory`; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (stage, column, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        path = directory / f"{stage}.csv"
        if path.is_file():
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            axes.plot([int(row["step"]) for row in rows], [float(row[column]) for row in rows])
        axes.set(title=title, xlabel="step", ylim=(0, 1))
        axes.grid(alpha=0.3)
    figure.savefig(output, dpi=100)
