"""The engine against the release's way of working, in turns, in one process, on the same weights.

    python -m benchmarks.engine                             # the shipped checkpoint on the CPU
    python -m benchmarks.engine --size full --device cuda   # SAM ViT-H, CLIP-L/336, LLaMA-7B, random weights, bfloat16

Both sides start from prepared images (resizing is measured in `benchmarks.host`) and end with COCO run lengths.
`a record at a time` gives the release's loop one phrase a call, so that the image is encoded for each; `an image at a
time` all phrases of an image, as rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.hardware import describe
from benchmarks.release_loop import ReleaseLoop
from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.checkpoint import open_checkpoint
from litelvlm.config import ClipSizes, GlammConfig
from litelvlm.demo.scenes import draw_scene
from litelvlm.flops import Workload, needed_flop
from litelvlm.glamm import GlammModel
from litelvlm.pipeline.masks import encode_answers
from litelvlm.pipeline.measure.device_peaks import peak_tflop_per_s
from litelvlm.pipeline.stages.shard_run import CALL_IMAGES
from litelvlm.precision import to_float8
from litelvlm.preprocess import PreparedImage
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

RESULTS = Path(__file__).parent / "results"
ROUNDS = 3
RULE = "paper"
PHRASES = (1, 3, 8)
LAYOUTS = ("separate", "shared", "rounds")
BUDGETS = {"demo": (144, 48, 24), "full": (576, 192, 128, 64)}
IMAGES = {"demo": 32, "full": 32}
LOOP_IMAGES = {"demo": 8, "full": 4}  # of these, for the loop's own rounds
FULL = {
    "vocab_size": 32007, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "mm_hidden_size": 1024,
}  # fmt: skip

Records = list[tuple[PreparedImage, list[str]]]


def main() -> None:
    """Measure every combination and write the result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("demo", "full"), default="demo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--images", type=int, help="images of each measurement")
    options = parser.parse_args()
    dtype = options.dtype or ("float32" if options.device == "cpu" else "bfloat16")
    annotator = load(options.size, options.device, dtype)
    num_images = options.images or IMAGES[options.size]
    rows = []
    for num_phrases in PHRASES:
        records = draw_records(annotator, options.size, num_images, num_phrases)
        for budget in BUDGETS[options.size]:
            rows += measure(annotator, records, budget, LOOP_IMAGES[options.size])
            print(*(line(row) for row in rows[-len(LAYOUTS) :]), sep="\n", flush=True)
    write(options.size, options.device, dtype, rows)


def load(size: str, device: str, dtype: str) -> Annotator:
    """The shipped checkpoint, or a full-size model with random weights."""
    if size == "demo":
        return Annotator.from_pretrained("demo", device=device, dtype=dtype)
    tiny = open_checkpoint(GLAMM_TINY, CLIP_TINY)
    checkpoint = dataclasses.replace(tiny, config=GlammConfig.from_published(FULL, ClipSizes()))
    with torch.device("meta"):
        model = GlammModel(checkpoint.config)
    wide = torch.bfloat16 if dtype == "float8" else getattr(torch, dtype)
    model = model.to(wide).to_empty(device=device).requires_grad_(False).eval()
    model.cast(wide).restore_buffers(torch.device(device))
    torch.manual_seed(0)
    for param in model.parameters():
        param.normal_(std=0.02)
    if dtype == "float8":
        to_float8(model)
    return Annotator(checkpoint, model)


def draw_records(annotator: Annotator, size: str, num_images: int, num_phrases: int) -> Records:
    """Drawn scenes, at their own sizes or 640 pixels wide, with so many phrases each, told apart by a number."""
    records = []
    for seed in range(num_images):
        scene = draw_scene(2_000_000_000 + seed, size=None if size == "demo" else 640)
        asked = list(scene.phrases)
        phrases = [f"{asked[n % len(asked)]} {n}" if n >= len(asked) else asked[n] for n in range(num_phrases)]
        records.append((annotator.preprocessor.prepare(scene.image), phrases))
    return records


def measure(annotator: Annotator, records: Records, budget: int, loop_images: int) -> list[dict[str, Any]]:
    """Phrases a second of the engine in every layout and of both loops, medians of rounds that take turns."""
    pruning = PruningConfig(rule="none" if budget >= annotator.num_visual_tokens else RULE, num_retain_tokens=budget)
    loop = ReleaseLoop(annotator)
    contestants: dict[str, tuple[Callable[[Records], Any], Records]] = {
        layout: (functools.partial(run_engine, annotator, pruning=pruning, layout=layout), records)
        for layout in LAYOUTS
    }
    few = records[:loop_images]
    contestants["an image at a time"] = (lambda given: run_loop(loop, given, pruning), few)
    alone = [(image, [phrase]) for image, phrases in few for phrase in phrases]
    contestants["a record at a time"] = (lambda given: run_loop(loop, given, pruning), alone)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    stages: dict[str, dict[str, float]] = {}
    peaks: dict[str, float] = {}
    for number in range(ROUNDS + 1):
        for name, (run, given) in contestants.items():
            before = annotator.stage_seconds
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            seconds = timed(functools.partial(run, given), annotator.model.device)
            if number:  # the first one warms up
                rates[name].append(sum(len(phrases) for _, phrases in given) / seconds)
            stages[name] = {stage: total - before[stage] for stage, total in annotator.stage_seconds.items()}
            peaks[name] = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    medians = {name: statistics.median(values) for name, values in rates.items()}
    num_phrases = len(records[0][1])
    rows = []
    for layout in LAYOUTS:
        flop, waste, encodes = count_work(annotator, records, pruning, layout)
        rows.append(
            {
                "phrases_per_image": num_phrases,
                "tokens": budget,
                "layout": layout,
                "phrases_per_s": round(medians[layout], 2),
                "spread": [round(min(rates[layout]), 2), round(max(rates[layout]), 2)],
                "images_per_s": round(medians[layout] / num_phrases, 2),
                "against_a_record_at_a_time": round(medians[layout] / medians["a record at a time"], 2),
                "against_an_image_at_a_time": round(medians[layout] / medians["an image at a time"], 2),
                "needed_gflop_per_phrase": round(flop / 1e9, 3),
                "mfu": utilisation(flop * medians[layout]),
                "padding_waste": round(waste, 5),
                "sam_encodes_per_image": encodes,
                "stage_s": {stage: round(value, 3) for stage, value in stages[layout].items()},
                "peak_memory_gb": round(peaks[layout] / 1e9, 1) if peaks[layout] else None,
            }
        )
    return rows


def run_engine(annotator: Annotator, records: Records, pruning: PruningConfig, layout: str) -> list[Any]:
    """Everything from prepared images to run lengths, in calls as large as the pipeline's. Returns the results."""
    requests = [AnnotationRequest(image=image, phrases=phrases) for image, phrases in records]
    results = []
    for start in range(0, len(requests), CALL_IMAGES):
        for result in annotator.annotate(requests[start : start + CALL_IMAGES], pruning, layout, keep_logits=False):
            results.append(result)
            list(encode_answers(result))
    return results


def run_loop(loop: ReleaseLoop, records: Records, pruning: PruningConfig) -> None:
    """The same, one call of the release's loop for each record."""
    for image, phrases in records:
        loop.annotate(image, phrases, pruning)


def timed(run: Callable[[], None], device: torch.device) -> float:
    """Seconds, the device's work included."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def count_work(
    annotator: Annotator, records: Records, pruning: PruningConfig, layout: str
) -> tuple[float, float, float]:
    """Needed operations for a phrase, the share of the language model's that is padding, SAM's encodes of an image."""
    runner: Any = annotator._runner
    num_encoded: list[int] = []
    passes: list[dict[str, Any]] = []
    encode_sam, llama = runner.encode_sam, runner._llama

    def counted(images: Any) -> Any:
        num_encoded.append(len(images))
        return encode_sam(images)

    runner.encode_sam = counted
    runner._llama = _Watched(llama, passes)
    try:
        results = run_engine(annotator, records, pruning, layout)
    finally:
        runner.encode_sam, runner._llama = encode_sam, llama
    num_phrases = sum(result.num_phrases for result in results)
    work = Workload(
        images=len(records),
        prompts=sum(result.num_prompts for result in results),
        phrases=num_phrases,
        retained_tokens=sum(result.num_prompts * result.num_retained_tokens for result in results),
        text_tokens=sum(result.num_text_tokens for result in results),
        shared=layout == "shared",
    )
    flop = sum(needed_flop(annotator.config, work).values()) / num_phrases
    return flop, padding_waste(annotator.config, passes), sum(num_encoded) / len(records)


class _Watched:
    """A packed LLaMA that notes the shape of every pass."""

    def __init__(self, llama: Any, passes: list[dict[str, Any]]) -> None:
        self._llama, self._passes = llama, passes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llama, name)

    def __call__(self, prompts: Any, prefix: list[Any]) -> torch.Tensor:
        self._passes.append({
            "tokens": len(prompts.embeds), "rows": prompts.num_rows, "width": prompts.width,
            "prefix": len(prefix[0][0]), "lengths": torch.bincount(prompts.rows).tolist(),
        })  # fmt: skip
        return self._llama(prompts, prefix)


def padding_waste(config: GlammConfig, passes: list[dict[str, Any]]) -> float:
    """Share of the language model's operations that padding costs: none in linear layers, some in attention."""
    llm = config.llm
    width, inner = llm.hidden_size, llm.intermediate_size
    kv_width = width * llm.num_key_value_heads // llm.num_attention_heads
    per_token = 2 * (2 * width**2 + 2 * width * kv_width + 3 * width * inner)
    needed = computed = 0.0
    for one in passes:
        linear = per_token * one["tokens"]
        needed += linear + 4 * width * sum(length * (one["prefix"] + length) for length in one["lengths"])
        computed += linear + 4 * width * one["rows"] * one["width"] * (one["prefix"] + one["width"])
    return 1 - needed / computed


def utilisation(flop_per_s: float) -> float | None:
    """Share of the device's peak; None where that is not known."""
    peak = peak_tflop_per_s(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    return round(flop_per_s / 1e12 / peak, 3) if peak else None


def line(row: dict[str, Any]) -> str:
    """A row of the table, for people who watch."""
    return (
        f"{row['phrases_per_image']} phrases an image, {row['tokens']:3} tokens, {row['layout']:8}: "
        f"{row['phrases_per_s']:8.1f} phrases/s, {row['against_a_record_at_a_time']:5.1f}x a record at a time, "
        f"{row['against_an_image_at_a_time']:4.1f}x an image at a time"
    )


def write(size: str, device: str, dtype: str, rows: Iterable[dict[str, Any]]) -> None:
    """The result as JSON, and as a chart."""
    rows = [*rows]
    content = {"hardware": describe(), "size": size, "dtype": dtype, "rule": RULE, "rounds": ROUNDS}
    content |= {"rows": rows, "pruning": pruning_speedups(rows)}
    name = f"engine_{size}_{torch.device(device).type}" + ("_float8" if dtype == "float8" else "")
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(content, RESULTS / f"{name}.png")


def pruning_speedups(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every budget, how much faster it is than all tokens, and how much it should be by needed operations."""
    whole = max(row["tokens"] for row in rows)
    of_all = {(row["phrases_per_image"], row["layout"]): row for row in rows if row["tokens"] == whole}
    found = []
    for row in rows:
        if row["tokens"] == whole:
            continue
        unpruned = of_all[row["phrases_per_image"], row["layout"]]
        measured = row["phrases_per_s"] / unpruned["phrases_per_s"]
        predicted = unpruned["needed_gflop_per_phrase"] / row["needed_gflop_per_phrase"]
        found.append({
            **{key: row[key] for key in ("phrases_per_image", "tokens", "layout")},
            "measured": round(measured, 2), "predicted": round(predicted, 2), "share": round(measured / predicted, 2),
        })  # fmt: skip
    return found


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
    figure.suptitle(f"{content['size']} model, {content['dtype']}, {device}, {hardware['date']}", fontsize=10)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
