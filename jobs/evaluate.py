"""Score rules and budgets on referring-segmentation data: `python jobs/evaluate.py --input … --output … --rules …`.

Images are encoded once for all combinations. Run it again to resume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.config import ORDERS, POSITIONS, RULES
from litelvlm.evaluation.config import DEFAULT_BUDGETS, EvaluationConfig, SweepConfig
from litelvlm.evaluation.protocol import PROTOCOLS, Protocol
from litelvlm.pipeline.command import JobParser, Secrets, run_job
from litelvlm.pipeline.config import RunConfig, parse_actors, parse_storage_options
from litelvlm.pipeline.errors import MISTAKES, UsageError

DEFAULT_MASK_COLUMN = "masks"  # as `jobs/ground_truth.py` writes it


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input, 3 too many answers failed."""
    return run_job(lambda secrets: _evaluate(argv, secrets), resumes=True)


def _evaluate(argv: list[str] | None, secrets: Secrets) -> int:
    try:
        config = build_config(vars(build_parser().parse_args(argv)))
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    secrets.of(config.run.storage_options)
    from litelvlm.evaluation.run import evaluate_dataset

    return evaluate_dataset(config)


def build_parser() -> argparse.ArgumentParser:
    """All flags of the job."""
    parser = JobParser(prog="evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_sweep_flags(parser.add_argument_group("what is compared"))
    _add_input_flags(parser.add_argument_group("input"))
    _add_run_flags(parser.add_argument_group("model, cluster and output"))
    return parser


def build_config(flags: dict[str, Any]) -> EvaluationConfig:
    """The configuration that flags ask for. Raises ValueError naming what does not fit."""
    given = {key: value for key, value in flags.items() if value is not None}
    sweep = {key: given.pop(key) for key in _SWEEP if key in given}
    own = {key: given.pop(key) for key in ("dataset", "bootstrap_samples") if key in given}
    asking = {"name": given.pop("protocol", PROTOCOLS[0]), "seed": given.pop("protocol_seed", 0)}
    protocol = Protocol(**asking, layout=given.pop("layout", ""))
    given["input"] = tuple(given.get("input", ()))
    given["allow_prefixes"] = tuple(given.get("allow_prefixes", ()))
    given["storage_options"] = parse_storage_options(given.get("storage_options", []))
    given["num_actors"] = parse_actors(given.get("num_actors", 1))
    given.setdefault("mask_column", DEFAULT_MASK_COLUMN)
    run = RunConfig.from_flat(given)
    own.setdefault("dataset", Path(run.source.input[0]).name.removesuffix(".parquet")[:100])
    return EvaluationConfig(run=run, sweep=SweepConfig(**sweep), protocol=protocol, **own)


_SWEEP = ("rules", "budgets", "seeds", "orders", "positions", "fastv_layer", "example_images", "boundary", "save_masks")


def _add_sweep_flags(group: Any) -> None:
    add = group.add_argument
    add("--rules", type=_names, help=f"comma-separated, of {', '.join(RULES)}; default: all")
    budgets = ",".join(map(str, DEFAULT_BUDGETS))
    add("--budgets", type=_numbers, help=f"visual tokens kept, comma-separated; default: {budgets}")
    add("--seeds", type=_numbers, help="of the rule random; default: 0")
    add("--orders", type=_names, help=f"of {', '.join(ORDERS)}; default: auto")
    add("--positions", type=_names, help=f"of {', '.join(POSITIONS)}; default: compact")
    add("--fastv-layer", type=int, help="layers that read all tokens under the rule fastv")
    add("--protocol", choices=PROTOCOLS, help="every (each expression alone; the default) or release (as published)")
    add("--protocol-seed", type=int, help="of the draws of the protocol release; default: 0")
    add("--layout", help="of the protocol every: separate (the default), rounds or shared")
    add("--example-images", type=int, help="images in the report with the tokens that were kept; default: 6")
    add("--no-boundary", dest="boundary", action="store_const", const=False, help="leave out boundary F")
    add("--save-masks", action="store_const", const=True, help="keep every answer's mask in answers.parquet")
    add("--bootstrap-samples", type=int, help="for confidence intervals by image; default: 1000")


def _add_input_flags(group: Any) -> None:
    add = group.add_argument
    add("--input", nargs="+", metavar="PATH", help="Parquet with true masks, e.g. of jobs/ground_truth.py")
    add("--dataset", help="name in the outputs; refcoco_val and so on have published numbers; default: the file's name")
    add("--mask-column", help="column of true masks; default: masks")
    add("--image-column", help="found by name if not given, as are the next two")
    add("--phrase-column")
    add("--id-column")
    add("--image-root", help="directory or prefix that relative image paths start from")
    add("--allow-prefix", dest="allow_prefixes", action="append", metavar="URI", help="images may come from here, too")
    add("--limit", type=int, help="evaluate the first N rows only")
    add("--sample", type=float, help="evaluate this share of the rows, chosen by hash")
    add("--shard-images", type=int, help="rows a shard: the unit of work and of resuming")
    add("--storage-options", nargs="+", action="extend", metavar="K=V", help="for fsspec; dots nest")


def _add_run_flags(group: Any) -> None:
    add = group.add_argument
    add("--model", help="demo, a directory, or a Hugging Face id")
    add("--clip", help="CLIP directory or id, for checkpoints that hold none")
    add("--device", help="auto, cpu or cuda")
    add("--precision", help="auto, bf16, fp32 or fp8")
    add("--num-actors", metavar="N|MIN,MAX", help="copies of the model")
    add("--gpus-per-actor", type=float)
    add("--ray-address", help="cluster to use; default: RAY_ADDRESS, else this machine")
    add("--num-cpus", type=int, help="logical CPUs of a Ray started on this machine")
    add("--output", metavar="DIR", help="directory or object-store prefix")
    add("--overwrite", action="store_const", const=True, help="remove an older run in the output first")
    add("--max-failure-rate", type=float, help="share of failed answers above which the exit code is 3")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers, separated by commas") from None


if __name__ == "__main__":
    sys.exit(main())
