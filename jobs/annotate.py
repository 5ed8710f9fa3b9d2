"""Annotate image–phrase Parquet with masks: `python jobs/annotate.py --input … --output …`. Run it again to resume."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, run_job
from litelvlm.pipeline.config import RunConfig, load_yaml, parse_actors, parse_storage_options
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE

A = TypeVar("A")
R = TypeVar("R")


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input, 3 failure rate exceeded."""
    return run_job(lambda secrets: _annotate(argv, secrets), resumes=True)


def _annotate(argv: list[str] | None, secrets: Secrets) -> int:
    flags = vars(build_parser().parse_args(argv))
    dry_run = flags.pop("dry_run")
    config = _usage(build_config, flags)
    secrets.of(config.storage_options)
    if dry_run:
        from litelvlm.pipeline.dry_run import describe_run

        print(_usage(describe_run, config))
        return EXIT_DONE
    from litelvlm.pipeline.run import annotate_dataset

    return annotate_dataset(config)


def build_parser() -> argparse.ArgumentParser:
    """Flags, none with a default: what is not given comes from `--config`, then from `pipeline.config`."""
    parser = JobParser(
        prog="annotate",
        description=__doc__,
    )
    add = parser.add_argument
    add("--config", metavar="YAML", help="settings by the flags' names; flags win")
    _add_input_flags(parser.add_argument_group("input"))
    _add_model_flags(parser.add_argument_group("model"))
    _add_cluster_flags(parser.add_argument_group("cluster"))
    _add_output_flags(parser.add_argument_group("output"))
    return parser


def build_config(flags: dict[str, Any]) -> RunConfig:
    """Flags over the YAML file over the defaults. Raises ValueError naming what does not fit."""
    given = {key: value for key, value in flags.items() if value is not None}
    path = given.pop("config", None)
    values = (load_yaml(path) if path else {}) | given
    options = values.get("storage_options")
    if isinstance(options, list):
        values["storage_options"] = parse_storage_options(options)
    if "num_actors" in values:
        values["num_actors"] = parse_actors(values["num_actors"])
    for key in ("input", "allow_prefixes"):
        if isinstance(values.get(key), str):
            values[key] = [values[key]]
        if key in values:
            values[key] = tuple(values[key])
    if str(values.get("batch_images", "")) == "auto":
        del values["batch_images"]
    if str(values.get("num_retain_tokens", "")) == "all":
        values |= {"num_retain_tokens": 2**31 - 1}
    return RunConfig.from_flat(values)


def _add_input_flags(group: Any) -> None:
    add = group.add_argument
    add("--input", nargs="+", metavar="PATH", help="Parquet files, directories or globs; local or s3:// and the like")
    add("--image-column", help="column of image bytes, of {bytes, path}, or of URIs; found by name if not given")
    add("--phrase-column", help="column of phrases, e.g. phrase or sentences.sent")
    add("--id-column", help="column of image ids; '' makes ids from positions")
    add("--mask-column", help="column of true masks; with --baseline-images, quality against them is reported")
    add("--image-root", help="directory or prefix that relative image paths start from")
    add("--allow-prefix", dest="allow_prefixes", action="append", metavar="URI", help="images may come from here, too")
    add("--max-pixels", type=int, help="larger images fail")
    add("--shard-images", type=int, help="rows a shard: the unit of work and of resuming")
    add("--limit", type=int, help="annotate the first N rows only")
    add("--sample", type=float, help="annotate this share of the rows, chosen by hash")
    add(
        "--storage-options",
        nargs="+",
        action="extend",
        metavar="K=V",
        help="for fsspec; dots nest: client_kwargs.endpoint_url=…",
    )


def _add_model_flags(group: Any) -> None:
    add = group.add_argument
    add("--model", help="demo, a directory, or a Hugging Face id")
    add("--clip", help="CLIP directory or id, for checkpoints that hold none")
    add("--device", help="auto, cpu or cuda")
    add("--precision", help="auto, bf16, fp32 or fp8")
    add("--resizing", help="exact (the release's pixels) or fast (a third of the CPU time, a few pixels a level off)")
    add("--num-retain-tokens", type=_budget, help="visual tokens kept per prompt, or all")
    add("--rule", help="pruning rule: release, paper, none, context, … (docs/rules.md)")
    add("--order", help="order of kept tokens: auto, release or raster")
    add("--positions", help="position ids of kept tokens: compact or original")
    add("--layout", help="separate (a prompt per phrase), shared (one visual prefix per image) or rounds")
    add("--question", help="question template, with {phrase}")
    add("--answer", help="answer template, with [SEG]")


def _add_cluster_flags(group: Any) -> None:
    add = group.add_argument
    add("--num-actors", metavar="N|MIN,MAX", help="copies of the model")
    add("--gpus-per-actor", type=float)
    add("--batch-images", type=_auto_or_int, help="images encoded together, or auto")
    add("--ray-address", help="cluster to use; default: RAY_ADDRESS, else this machine")
    add("--num-cpus", type=int, help="logical CPUs of a Ray started on this machine")


def _add_output_flags(group: Any) -> None:
    add = group.add_argument
    add("--output", metavar="DIR", help="directory or object-store prefix")
    add("--overwrite", action="store_const", const=True, help="remove an older run in the output first")
    add("--max-failure-rate", type=float, help="share of failed records above which the run fails (exit code 3)")
    add("--baseline-images", type=int, help="annotate N images unpruned as well, and compare")
    add("--gpu-price", type=float, help="per GPU and hour, for cost figures")
    add("--dry-run", action="store_true", help="say what would be done; write nothing")


def _auto_or_int(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _budget(text: str) -> int | str:
    return text if text == "all" else int(text)


def _usage(function: Callable[[A], R], argument: A) -> R:
    """Call, and count what it raises over a mistake as bad usage."""
    try:
        return function(argument)
    except MISTAKES as error:
        raise UsageError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
