"""Trains CLIP towers of the demo's sizes as CLIP is trained: scenes against captions, and nothing else.

    python -m demo.contrast --output build/contrast       # about 30 minutes on one core
    python jobs/similarity.py --model demo --clip build/contrast/clip …

The shipped towers were taught what each of their patches shows as well (`demo.train_clip`); these show what is left of
that without. They are written in the form of a Hugging Face CLIP directory. Run again, it goes on with them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch.nn.attention import sdpa_kernel

from litelvlm.demo.clip_directory import write_clip_directory
from litelvlm.demo.rendering import render_scenes
from litelvlm.demo.train import ATTENTION
from litelvlm.demo.train_clip import load_clip, train_clip


def main(arguments: list[str] | None = None) -> int:
    """Trains and writes; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="for scenes (4 GB), curve, towers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=26, help="of training, after the scenes are there")
    parser.add_argument("--scenes", type=int, default=16_000, help="to train on")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.scenes < 1000:
        parser.error("--minutes must be above 0, --scenes at least 1000")
    torch.set_num_threads(options.threads)
    scenes = render_scenes(options.output / "scenes", 0, options.scenes)
    start = load_clip(options.output) if (options.output / "clip.safetensors").is_file() else None
    how = {"minutes": options.minutes, "seed": options.seed, "contrastive": True, "start": start}
    with sdpa_kernel(ATTENTION):
        encoder = train_clip(scenes, options.output, **how)
    print(f"towers: {write_clip_directory(encoder, options.output / 'clip_merges.txt', options.output / 'clip')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
