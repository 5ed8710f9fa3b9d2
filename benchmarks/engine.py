"""The engine against the release's way of working, in turns, in one process, on the shipped checkpoint's weights.

    python -m benchmarks.engine [--model CHECKPOINT --output DIR]   # on the CPU; on a GPU: python -m benchmarks.gpu

Both sides start from prepared images (resizing is measured in `benchmarks.host`) and end with COCO run lengths.
`a record at a time` gives the release's loop one phrase a call, so that the image is encoded for each; `an image at a
time` all phrases of an image, as rounds.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import IMAGE_LOOP, RECORD_LOOP, ROUNDS, Records, measure, pruning_speedups, pruning_to
from benchmarks.hardware import describe
from benchmarks.peaks import matrix_peak
from litelvlm import Annotator
from litelvlm.demo.scenes import draw_scene

RESULTS = Path(__file__).parent / "results"
RULE = "paper"
PHRASES = (1, 3, 8)
LAYOUTS = ("separate", "shared", "rounds")
SHARES = (1, 1 / 3, 1 / 6)  # of the visual tokens
IMAGES, LOOP_IMAGES = 32, 8
_FIRST_SEED = 2_000_000_000


def main() -> None:
    """Measure every combination and write the result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES, help="of each measurement")
    parser.add_argument("--model", default="demo", help="checkpoint (demo); others need --output")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="where the two result files go")
    options = parser.parse_args()
    if options.model != "demo" and options.output == RESULTS:
        parser.error("--output: name a directory, or the demo's results would be overwritten")
    annotator = Annotator.from_pretrained(options.model)
    peak = matrix_peak(annotator.device)
    rows: list[dict[str, Any]] = []
    for num_phrases in PHRASES:
        draw_round = functools.partial(draw_records, annotator, options.images, num_phrases)
        for budget in (round(share * annotator.num_visual_tokens) for share in SHARES):
            rows += measure(
                annotator,
                draw_round,
                pruning_to(annotator, RULE, budget),
                LAYOUTS,
                num_loop_images=LOOP_IMAGES,
                peak_flop_per_s=peak.flop_per_s,
            )
            print(*(line(row) for row in rows[-len(LAYOUTS) :]), sep="\n", flush=True)
    write(rows, peak.flop_per_s, annotator.config.description.title, options.output)


def draw_records(annotator: Annotator, num_images: int, num_phrases: int, number: int) -> Records:
    """Drawn scenes with so many phrases each, told apart by a number; another round asks other texts."""
    records = []
    for seed in range(num_images):
        scene = draw_scene(_FIRST_SEED + seed)
        asked = [scene.phrases[n % len(scene.phrases)] for n in range(num_phrases)]
        own = range(number * max(PHRASES), number * max(PHRASES) + num_phrases)
        phrases = [f"{phrase} {np.base_repr(one, 36).lower()}" for phrase, one in zip(asked, own, strict=True)]
        records.append((annotator.preprocessor.prepare(scene.image), phrases))
    return records


def line(row: dict[str, Any]) -> str:
    """A row of the table, for people who watch."""
    loops = (row[f"against_{name.replace(' ', '_')}"] for name in (RECORD_LOOP, IMAGE_LOOP))
    return (
        f"{row['phrases_per_image']} phrases an image, {row['tokens']:3} tokens, {row['layout']:8}: "
        "{:8.1f} phrases/s, {:5.1f}x {}, {:4.1f}x {}".format(
            row["phrases_per_s"],
            *(part for pair in zip(loops, (RECORD_LOOP, IMAGE_LOOP), strict=True) for part in pair),
        )
    )


def write(rows: list[dict[str, Any]], peak_flop_per_s: float, model: str, directory: Path) -> None:
    """The result as JSON, and as a chart."""
    content: dict[str, Any] = {"hardware": describe(), "model": model, "size": "demo", "dtype": "float32"}
    content |= {"rule": RULE, "rounds": ROUNDS, "peak_gflop_per_s": round(peak_flop_per_s / 1e9, 1)}
    content |= {"rows": rows, "pruning": pruning_speedups(rows)}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "engine_demo_cpu.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(content, directory / "engine_demo_cpu.png")


def draw(content: dict[str, Any], path: Path) -> None:
    """Speed-up over a record at a time, a panel for each number of phrases."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, num_phrases in zip(figure.subplots(1, len(PHRASES), sharey=True), PHRASES, strict=True):
        rows = [row for row in content["rows"] if row["phrases_per_image"] == num_phrases]
        budgets = list(dict.fromkeys(row["tokens"] for row in rows))
        for number, layout in enumerate(LAYOUTS):
            values = [row["against_a_record_at_a_time"] for row in rows if row["layout"] == layout]
            bars = axes.bar([i + 0.27 * (number - 1) for i in range(len(budgets))], values, 0.25, label=layout)
            axes.bar_label(bars, fmt="%.1f", fontsize=7)
        axes.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
        axes.set(title=f"{num_phrases} {'phrase' if num_phrases == 1 else 'phrases'} an image", xlabel="visual tokens")
        axes.axhline(1, color="grey", linewidth=0.8)
    figure.axes[0].set_ylabel("phrases/s, times a record at a time")
    figure.axes[0].legend(loc="upper left", fontsize=8)
    hardware = content["hardware"]
    device = hardware["device"] if hardware["device"] != "none" else f"{hardware['cores']} cores"
    figure.suptitle(f"small {content['model']}, {content['dtype']}, {device}, {hardware['date']}", fontsize=10)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
