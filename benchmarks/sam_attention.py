"""SAM's image encoder in its three formulations, plain and compiled, in turns, on the same random weights.

    python -m benchmarks.sam_attention --device cuda     # ViT-H at 1024, bfloat16, batches of 1, 4 and 8
    python -m benchmarks.sam_attention                   # a small encoder on the CPU: the script itself, no figures

`plain` is transformers' encoder with fused attention and a bias matrix, `folded` and `flex` are ours. Of `flex`,
`eager` has its attention compiled and nothing else. The utilisation counts the operations of the plain formulation for
all three, and the peak of dense bfloat16 products.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from benchmarks.flex_sam import FlexSamEncoder, FusedFlexSamEncoder
from benchmarks.hardware import describe
from litelvlm.compiled_sam import CompiledSamEncoder
from litelvlm.config import SamSizes
from litelvlm.flops import sam_encoder_flop
from litelvlm.folded_sam import FoldedSamEncoder
from litelvlm.pipeline.measure.device_peaks import peak_tflop_per_s

RESULTS = Path(__file__).parent / "results"
SMALL = SamSizes(
    image_size=128, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, global_attn_indexes=(1,), window_size=3
)
BATCHES = (1, 4, 8)
ROUNDS = 10
Encode = Callable[[Tensor], Tensor]


def main(arguments: list[str] | None = None) -> None:
    """Race, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    sizes, dtype = (SamSizes(), torch.bfloat16) if on_gpu else (SMALL, torch.float32)
    backend = "inductor" if on_gpu else "aot_eager"
    rows: list[dict[str, Any]] = []
    for batch in BATCHES:
        for row in race(sizes, device, dtype, batch, rounds=options.rounds, backend=backend):
            print(line(row), flush=True)
            rows.append(row)
        write(options.results / f"sam_attention_{device.type}.json", sizes, dtype, backend, rows)


def race(
    sizes: SamSizes, device: torch.device, dtype: torch.dtype, batch: int, *, rounds: int, backend: str
) -> list[dict[str, Any]]:
    """A row for each formulation at one batch size; medians of rounds in which they take turns.

    What fails, as for want of memory or of a compiler, has a row with its error.
    """
    encoder = random_encoder(sizes, device, dtype)
    torch.manual_seed(batch)
    pixels = torch.randn(batch, 3, sizes.image_size, sizes.image_size, device=device, dtype=dtype)
    rows = {name: {"formulation": name[0], "compiled": name[1], "batch": batch} for name in _names()}
    runs = {name: _contestant(encoder, *name, backend=backend) for name in rows}
    expected: Tensor | None = None
    for name in rows:
        found = _first(rows[name], runs[name], pixels)
        expected = found if expected is None else expected
        if found is not None and expected is not None:
            rows[name]["max_error"] = float((found.float() - expected.float()).abs().max())
            rows[name]["largest"] = float(expected.float().abs().max())
    seconds: dict[tuple[str, bool], list[float]] = {name: [] for name, row in rows.items() if "error" not in row}
    for _ in range(rounds):
        for name, taken in seconds.items():
            taken.append(timed(runs[name], pixels))
    for name, taken in seconds.items():
        rows[name] |= figures(taken, batch, sam_encoder_flop(sizes), peak_flops(device))
    return list(rows.values())


def random_encoder(sizes: SamSizes, device: torch.device, dtype: torch.dtype) -> SamVisionEncoder:
    """Random weights everywhere, relative positions and biases included."""
    config = SamVisionConfig(
        hidden_size=sizes.hidden_size,
        output_channels=sizes.output_channels,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        window_size=sizes.window_size,
        global_attn_indexes=list(sizes.global_attn_indexes),
        num_pos_feats=sizes.output_channels // 2,
    )
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        encoder: Any = SamVisionEncoder(config)
        encoder.to(dtype)
    encoder = encoder.to_empty(device=device).requires_grad_(False).eval()
    torch.manual_seed(0)
    for name, param in encoder.named_parameters():
        if param.dim() > 1:  # sums of about unit size, so that positions and attention count
            param.normal_(std=param[0].numel() ** -0.5)
        else:
            param.normal_(mean=float(name.endswith("weight")), std=0.1)
    return encoder


def timed(run: Encode, pixels: Tensor) -> float:
    """Seconds, the device's work included."""
    _wait(pixels.device)
    start = time.perf_counter()
    with torch.inference_mode():
        run(pixels)
    _wait(pixels.device)
    return time.perf_counter() - start


def figures(seconds: list[float], batch: int, flop: float, peak: float | None) -> dict[str, Any]:
    """What the rounds come to.

    Args:
        seconds: of each round.
        batch: images of a round.
        flop: of an image.
        peak: operations a second, if known.
    """
    median = statistics.median(seconds)
    return {
        "ms": round(median * 1000, 3),
        "spread_ms": [round(min(seconds) * 1000, 3), round(max(seconds) * 1000, 3)],
        "images_per_s": round(batch / median, 2),
        "mfu": round(batch * flop / median / peak, 3) if peak else None,
    }


def peak_flops(device: torch.device) -> float | None:
    """The device's peak; None where that is not known."""
    peak = peak_tflop_per_s(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return peak * 1e12 if peak else None


def line(row: dict[str, Any]) -> str:
    """A row of the table, for people who watch."""
    head = f"batch {row['batch']}, {row['formulation']:6} {'compiled' if row['compiled'] else 'eager':8}: "
    if "error" in row:
        return head + row["error"]
    memory = "" if row["peak_gb"] is None else f", {row['peak_gb']:.1f} GB"
    mfu = "" if row["mfu"] is None else f", MFU {row['mfu']:.1%}"
    return head + (
        f"{row['images_per_s']:7.1f} images/s, {row['ms']:8.2f} ms{mfu}{memory}, "
        f"first call {row['first_call_s']:.1f} s, error {row['max_error']:.2g} of {row['largest']:.2g}"
    )


def write(path: Path, sizes: SamSizes, dtype: torch.dtype, backend: str, rows: list[dict[str, Any]]) -> None:
    """The result as JSON."""
    content = {
        "hardware": describe(),
        "sizes": {name: getattr(sizes, name) for name in ("image_size", "hidden_size", "num_hidden_layers")},
        "dtype": str(dtype).removeprefix("torch."),
        "backend": backend,
        "tflop_per_image": sam_encoder_flop(sizes) / 1e12,
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _names() -> list[tuple[str, bool]]:
    return [(formulation, compiled) for formulation in ("plain", "folded", "flex") for compiled in (False, True)]


def _contestant(encoder: SamVisionEncoder, formulation: str, compiled: bool, *, backend: str) -> Encode:
    if formulation == "plain":
        run = torch.compile(encoder, dynamic=False, backend=backend) if compiled else encoder
        return lambda pixels: run(pixels).last_hidden_state
    if compiled:
        return CompiledSamEncoder(encoder, FoldedSamEncoder if formulation == "folded" else FlexSamEncoder, backend)
    if formulation == "folded":
        return FoldedSamEncoder(encoder)
    on_gpu = next(encoder.parameters()).is_cuda
    return FusedFlexSamEncoder(encoder) if on_gpu else FlexSamEncoder(encoder)


def _first(row: dict[str, Any], run: Encode, pixels: Tensor) -> Tensor | None:
    """The output of the first calls, which compile and warm up; how long they took, the memory of the second."""
    try:
        row["first_call_s"] = round(timed(run, pixels), 2)
        if pixels.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            found = run(pixels)
    except RuntimeError as error:
        row["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
        return None
    if isinstance(run, CompiledSamEncoder) and not run.is_compiled:
        row["error"] = "it could not be compiled"
        return None
    row["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2) if pixels.is_cuda else None
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
