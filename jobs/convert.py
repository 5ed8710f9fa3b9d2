"""Converts a GLaMM checkpoint to a single safetensors directory that loads faster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.config import WEIGHT_DTYPES
from litelvlm.pipeline.command import JobParser, configure, run_job
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.settings import Flag, Settings


@dataclass(frozen=True, kw_only=True)
class ConvertSettings(Settings):
    """What is converted, and to what."""

    model: Annotated[str, Flag("Hugging Face id or directory of a published checkpoint")]
    clip: Annotated[
        str | None, Flag("Hugging Face CLIP directory or id", unset="open_clip's ViT-L-14-336 / openai")
    ] = None
    output: Annotated[str, Flag("directory to create", metavar="DIR")]
    dtype: Annotated[str, Flag("of the weights", choices=WEIGHT_DTYPES)] = "bfloat16"


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input."""
    return run_job(lambda _: _convert(argv), mistakes=(OSError, ValueError))


def _convert(argv: list[str] | None) -> int:
    parser = JobParser(prog="convert", description=__doc__).add_settings(ConvertSettings)
    asked = configure(ConvertSettings, vars(parser.parse_args(argv)))
    from litelvlm.convert import convert_checkpoint
    from litelvlm.engine.device import DTYPES

    output = convert_checkpoint(asked.model, asked.output, clip=asked.clip, dtype=DTYPES[asked.dtype])
    print(f"converted {asked.model} to {output}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
