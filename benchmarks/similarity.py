"""Similarity inside and outside of what phrases mean, on 500 held-out scenes, for two pairs of CLIP towers.

    python -m demo.contrast --output build/contrast
    python -m benchmarks.similarity --contrast build/contrast/clip

The shipped towers were taught what their patches show, the others saw scenes and captions alone (`demo.contrast`). What
is found goes to `benchmarks/results/similarity`, the picture to `docs/images/similarity.png`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.hardware import describe
from litelvlm.config import GlammConfig
from litelvlm.demo.scenes import HELD_OUT_SEED, Scene, draw_scene
from litelvlm.evaluation.similarity.examples import heat_map, seen_by_clip
from litelvlm.patch_similarity import PatchSimilarity
from litelvlm.preprocess import clip_resize, resize_exactly

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "similarity"
PICTURE = ROOT / "docs" / "images" / "similarity.png"
TEXTS = ("question", "phrase")
_SCENES = ((0, 0), (1, 0), (2, 0))  # number and phrase: the first phrase of the first scenes


def main() -> int:
    """Runs the jobs and draws; returns 0, or the exit code of the first job that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contrast", required=True, help="the CLIP directory of demo.contrast")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--work", type=Path, default=Path("demo/output/similarities"))
    options = parser.parse_args()
    table = options.work / "held_out.parquet"
    draw = [sys.executable, "-m", "demo.truth", "--scenes", str(options.scenes), "--output", str(table)]
    subprocess.run(draw, check=True, cwd=ROOT)
    RESULTS.mkdir(parents=True, exist_ok=True)
    towers: dict[str, list[str]] = {"shipped": [], "contrast": ["--clip", options.contrast]}
    for name, flags in towers.items():
        for text in TEXTS:
            output = options.work / f"{name}-{text}"
            command = [
                "jobs/similarity.py",
                "--input",
                str(table),
                "--dataset",
                "drawn scenes",
                "--output",
                str(output),
            ]
            command += ["--overwrite", "--device", "cpu", "--text", text, *flags]
            print(f"$ python {shlex.join(command)}", flush=True)
            if code := subprocess.run([sys.executable, *command], check=False, cwd=ROOT).returncode:
                return code
            found = json.loads((output / "similarity.json").read_text())
            content = {"measured_on": describe(), "command": shlex.join(["python", *command])} | found
            (RESULTS / f"{name}-{text}.json").write_text(json.dumps(content, indent=1) + "\n")
    aurocs = [_aurocs(options.work / f"{name}-question" / "similarity.parquet") for name in towers]
    draw_picture(aurocs, [PatchSimilarity.from_pretrained("demo", clip) for clip in (None, options.contrast)])
    return 0


def _aurocs(path: Path) -> NDArray[np.float64]:
    values = pq.read_table(path, columns=["product_auroc"]).column(0).drop_null()
    return values.to_numpy().astype(np.float64)


def draw_picture(
    aurocs: Sequence[NDArray[np.float64]], towers: Sequence[PatchSimilarity], output: Path = PICTURE
) -> None:
    """AUROC of the phrases under both pairs of towers, and the same scenes as both see them; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3 + len(_SCENES))
    names = ("shipped towers: also taught\nwhat each patch shows", "contrast alone")
    for row, (name, values, similarity) in enumerate(zip(names, aurocs, towers, strict=True)):
        axes = figure.add_subplot(grid[row, :3])
        axes.hist(values, bins=20, range=(0, 1), color="C0")
        axes.axvline(0.5, color="black", linewidth=1, linestyle="--")
        axes.axvline(values.mean(), color="C1", linewidth=2, label=f"mean {values.mean():.3f}")
        axes.set(title=name, ylabel="phrases", xlabel="AUROC: below 0.5 inside is less similar" if row else "")
        axes.legend(loc="upper center")
        for place, (number, phrase) in enumerate(_SCENES):
            tile = figure.add_subplot(grid[row, 3 + place])
            scene = draw_scene(HELD_OUT_SEED + number)
            tile.imshow(_heat(similarity, scene, phrase))
            outline = seen_by_clip(scene.masks[phrase], similarity.checkpoint.config.clip.image_size)
            tile.contour(outline, levels=[0.5], colors="white", linewidths=1.5)
            tile.set_axis_off()
            tile.set_title(_wrapped(scene.phrases[phrase]), fontsize=8)
    figure.savefig(output, dpi=100)


def _heat(similarity: PatchSimilarity, scene: Scene, phrase: int) -> NDArray[np.uint8]:
    config: GlammConfig = similarity.checkpoint.config
    pixels = clip_resize(scene.image, config.clip.image_size, resize_exactly)
    [found] = similarity([pixels], [[config.template.ask(scene.phrases[phrase])]])
    return heat_map(pixels, found.product[0])


def _wrapped(text: str, width: int = 22) -> str:
    lines: list[Any] = [""]
    for word in text.split():
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [lines[-1], word]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
