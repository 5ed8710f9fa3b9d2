"""Converts a GLaMM checkpoint to a single safetensors directory that loads faster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run as `python jobs/convert.py` from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from litelvlm.convert import convert_checkpoint
from litelvlm.engine.device import DTYPES


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 with one line on stderr for bad usage or input."""
    parser = argparse.ArgumentParser(prog="convert.py", description=__doc__)
    parser.add_argument("--model", required=True, help="Hugging Face id or directory of a published checkpoint")
    parser.add_argument("--clip", help="Hugging Face CLIP directory or id (default: open_clip's ViT-L-14-336 / openai)")
    parser.add_argument("--output", required=True, help="directory to create")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16", help="of the weights")
    args = parser.parse_args(argv)
    try:
        output = convert_checkpoint(args.model, args.output, clip=args.clip, dtype=DTYPES[args.dtype])
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"converted {args.model} to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
