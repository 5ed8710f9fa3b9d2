"""How much faster a converted checkpoint loads than a published one.

Builds a GLaMM checkpoint with SAM ViT-H and CLIP-L at full size, a language model of four narrow layers and random
weights, in the published layout (float16 `.bin` shards, CLIP beside), converts it to bfloat16, and loads both in
processes of their own, in turns.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.hardware import describe
from litelvlm.config import ClipSizes, GlammConfig
from litelvlm.convert import convert_checkpoint
from tests.litelvlm.published_layout import clip_shapes, glamm_shapes
from tests.parity.fixtures import GLAMM_TINY

RESULT = Path(__file__).parent / "results" / "checkpoint_loading.json"
ROUNDS = 3
CONFIG = {
    "vocab_size": 32007, "hidden_size": 1024, "intermediate_size": 2752, "num_hidden_layers": 4,
    "num_attention_heads": 8, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "mm_hidden_size": 1024,
}  # fmt: skip
LOAD = """
import sys, time, torch
from litelvlm.checkpoint import open_checkpoint
from litelvlm.loading import load_model
start = time.perf_counter()
load_model(open_checkpoint(*sys.argv[1:]), torch.device("cpu"), torch.bfloat16)
print(time.perf_counter() - start)
"""


def build_published(directory: Path) -> tuple[Path, Path]:
    """Writes the checkpoint and its CLIP directory; returns both."""
    config = GlammConfig.from_published(CONFIG, ClipSizes())
    glamm, clip = directory / "glamm", directory / "clip"
    glamm.mkdir()
    clip.mkdir()
    shutil.copy(GLAMM_TINY / "tokenizer.model", glamm)
    (glamm / "config.json").write_text(json.dumps(CONFIG))
    shapes = glamm_shapes(config.llm, config.sam, config.clip)
    shards = {name: f"pytorch_model-{index % 2 + 1:05}-of-00002.bin" for index, name in enumerate(sorted(shapes))}
    for file in sorted(set(shards.values())):
        torch.save({n: torch.randn(shapes[n]).half() for n, own in shards.items() if own == file}, glamm / file)
    (glamm / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": shards}))
    sizes = ClipSizes()
    torch.save({name: torch.randn(shape) for name, shape in clip_shapes(sizes).items()}, clip / "pytorch_model.bin")
    vision = {
        "hidden_size": sizes.vision_width, "num_hidden_layers": sizes.vision_layers, "patch_size": sizes.patch_size,
        "num_attention_heads": sizes.vision_heads, "intermediate_size": sizes.vision_mlp_dim,
        "image_size": sizes.image_size,
    }  # fmt: skip
    text = {
        "hidden_size": sizes.text_width, "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": sizes.text_heads, "intermediate_size": sizes.text_mlp_dim,
    }  # fmt: skip
    config_json = {"projection_dim": sizes.embed_dim, "vision_config": vision, "text_config": text}
    (clip / "config.json").write_text(json.dumps(config_json))
    return glamm, clip


def load_seconds(*arguments: Path) -> float:
    """Seconds to load a checkpoint in a fresh process, imports not counted."""
    command = [sys.executable, "-c", LOAD, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Runs the measurement and writes the result."""
    with tempfile.TemporaryDirectory() as scratch:
        glamm, clip = build_published(Path(scratch))
        converted = convert_checkpoint(glamm, Path(scratch) / "converted", clip=clip)
        gigabytes = sum(path.stat().st_size for path in converted.iterdir()) / 1e9
        load_seconds(glamm, clip), load_seconds(converted)  # fills the page cache, so that both are read from memory
        published_s, converted_s = [], []
        for number in range(ROUNDS):
            published_s.append(load_seconds(glamm, clip))
            converted_s.append(load_seconds(converted))
            print(f"round {number + 1}/{ROUNDS}: {published_s[-1]:.2f} s published, {converted_s[-1]:.2f} s converted")
    ratios = [slow / fast for slow, fast in zip(published_s, converted_s, strict=True)]
    result = {
        **describe(),
        "converted_gigabytes": round(gigabytes, 2),
        "published_seconds_median": round(statistics.median(published_s), 3),
        "converted_seconds_median": round(statistics.median(converted_s), 3),
        "speedup_median": round(statistics.median(ratios), 2),
        "speedup_min_max": [round(min(ratios), 2), round(max(ratios), 2)],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
