"""`make demo`: draws scenes to Parquet, annotates them through Ray with a third of the tokens, shows what came out."""

from __future__ import annotations

import argparse
import io
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from litelvlm.demo.scenes import HELD_OUT_SEED, Scene, draw_scene
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask
from litelvlm.pipeline.report.overlay import OverlayItem, draw_sheet

ROOT = Path(__file__).resolve().parents[1]
# Beyond the 500 held-out scenes that the committed table was made on.
FIRST_SEED = HELD_OUT_SEED + 10_000
SHEET_SCENES = 16


def main(argv: list[str] | None = None) -> int:
    """Runs the demo; returns the annotation job's exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo/output"), help="where everything goes")
    parser.add_argument("--scenes", type=int, default=200, help="scenes to draw")
    parser.add_argument("--num-retain-tokens", type=int, default=48, help="of 144 visual tokens")
    parser.add_argument("--rule", default="context", help="pruning rule; demo/results compares them")
    args = parser.parse_args(argv)
    if args.scenes < 1:
        parser.error("--scenes: must be at least 1")
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    table = args.output / "scenes.parquet"
    write_scenes(table, args.scenes)
    command = [sys.executable, str(ROOT / "jobs" / "annotate.py")]
    command += ["--input", str(table), "--output", str(args.output / "run"), "--overwrite", "--shard-images", "25"]
    command += ["--rule", args.rule, "--num-retain-tokens", str(args.num_retain_tokens)]
    command += ["--baseline-images", str(min(50, args.scenes)), "--mask-column", "truth_rle"]
    print(f"$ {shlex.join(['python', *command[1:]])}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        report(args.output, args.num_retain_tokens, args.rule)
        print(f"all of it took {time.monotonic() - started:.0f} s")
    return code


def write_scenes(path: Path, count: int) -> None:
    """Writes scenes as people have them: an id, a PNG in a {bytes, path} struct, a list of phrases; and the truth."""
    rows = []
    for seed in tqdm(range(FIRST_SEED, FIRST_SEED + count), desc="drawing scenes", disable=not sys.stderr.isatty()):
        scene = draw_scene(seed)
        name = f"scene-{seed - FIRST_SEED:05}"
        image = {"bytes": _png(scene), "path": f"{name}.png"}
        truth = [encode_mask(mask).counts for mask in scene.masks]
        rows.append({"image_id": name, "image": image, "phrases": scene.phrases, "truth_rle": truth})
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    print(f"drew {count} scenes with {sum(len(row['phrases']) for row in rows)} phrases to {path}", flush=True)


def report(output: Path, budget: int, rule: str) -> None:
    """Prints what the run gave and draws the overlay sheet."""
    summary = json.loads((output / "run" / "run.json").read_text())
    scenes = pq.read_table(output / "scenes.parquet").to_pylist()
    records = list(_records(output / "run"))
    truths = {row["image_id"]: row["truth_rle"] for row in scenes}
    ious = [_iou(record, truths[record["image_id"]][record["phrase_index"]]) for record in records]
    counts, session, baseline = summary["counts"], summary["session"], summary["baseline"]
    lines = [
        f"records         {counts['records']}: {counts['ok']} ok, {counts['empty']} empty, {counts['failed']} failed",
        f"gIoU            {np.mean(ious):.3f} against the drawn truth, keeping {budget} of 144 tokens (rule {rule})",
        f"throughput      {session['images_per_s']:.1f} images/s, {session['phrases_per_s']:.1f} phrases/s "
        "through the whole pipeline, start-up included",
    ]
    if baseline:
        lines.append(
            f"pruning saved   {1 - 1 / baseline['measured_speedup']:.0%} of the model's time "
            f"({baseline['measured_speedup']:.2f}x, measured on {baseline['images']} images on this machine); "
            f"masks agree with unpruned ones at mean IoU {baseline['mean_iou_pruned_vs_unpruned']:.3f}"
        )
    sheet = output / "overlays.png"
    draw_sheet(list(_tiles(scenes[:SHEET_SCENES], records)), str(sheet))
    parts = sorted((output / "run" / "annotations").glob("*.json"))
    lines += [f"COCO            {', '.join(map(str, parts))}", f"overlay sheet   {sheet} (white outline: the truth)"]
    lines.append(f"report          {output / 'run' / 'report.html'}")
    print("\n" + "\n".join(lines))


def _png(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, format="PNG")
    return buffer.getvalue()


def _records(run: Path) -> Iterator[dict[str, Any]]:
    for part in sorted((run / "records").glob("part-*.parquet")):
        yield from pq.read_table(part).to_pylist()


def _iou(record: dict[str, Any], truth_rle: str) -> float:
    """IoU of a record's mask with the truth; 0 without a mask."""
    if record["mask_rle"] is None:
        return 0.0
    size_hw = (record["height"], record["width"])
    mask, truth = _mask(record["mask_rle"], size_hw), _mask(truth_rle, size_hw)
    return float((mask & truth).sum() / (mask | truth).sum())


def _mask(counts: str, size_hw: tuple[int, int]) -> np.ndarray:
    """HxW bool from run lengths."""
    return decode_mask(EncodedMask(size_hw=size_hw, counts=counts, area=0, bbox_xywh=(0, 0, 0, 0)))


def _tiles(scenes: list[dict[str, Any]], records: list[dict[str, Any]]) -> Iterator[OverlayItem]:
    by_image: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_image.setdefault(record["image_id"], []).append(record)
    for scene in scenes:
        rgb = np.array(Image.open(io.BytesIO(scene["image"]["bytes"])))
        own = [record for record in by_image.get(scene["image_id"], []) if record["mask_rle"] is not None]
        yield OverlayItem(
            rgb=rgb,
            masks=[_mask(record["mask_rle"], rgb.shape[:2]) for record in own],
            phrases=[record["phrase"] for record in own],
            scores=[record["score"] for record in own],
            title=scene["image_id"],
            truths=[_mask(scene["truth_rle"][record["phrase_index"]], rgb.shape[:2]) for record in own],
        )


if __name__ == "__main__":
    sys.exit(main())
