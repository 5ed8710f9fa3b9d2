"""What a run is asked to do: frozen configuration, its validation, its fingerprint, and how it is written down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Gt, Interval

from litelvlm.config import (
    DEVICES,
    LAYOUTS,
    ORDERS,
    PHRASE_CASES,
    POSITIONS,
    PRECISIONS,
    RESIZING,
    RULES,
    SIGNALS,
)
from litelvlm.formulation import AUTO, parse_formulation
from litelvlm.pipeline.ontology import Ontology, read_ontology
from litelvlm.pipeline.schemas import FORMAT_VERSION
from litelvlm.pipeline.settings import Flag, Settings, check_known, flat

_ENVIRONMENT = "env:"
DEMO_REMARK = "the model is demo: it knows drawn shapes and nothing of photographs; name a real one with --model"


def parse_actors(value: Any) -> Any:
    """`4`, `"4"`, `"2,16"` or `[2, 16]` to the ends of a range. Raises ValueError for other than one or two."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    if len(parts) not in (1, 2):
        raise ValueError("give N, or MIN,MAX")
    return parts[0], parts[-1]


def parse_storage_options(given: Any) -> Any:
    """`["key=v", "client_kwargs.endpoint_url=http://…"]` to nested fsspec options; true and false become their type.

    `env:NAME` stands for the value of an environment variable, since command lines are shown and kept. A mapping stays
    as it is. Raises ValueError, in which no value is named, for what is neither.
    """
    if isinstance(given, dict):
        return given
    options: dict[str, Any] = {}
    for pair in given if isinstance(given, list | tuple) else [given]:
        key, separator, text = str(pair).partition("=")
        _check(bool(separator and key), "takes key=value")  # never echoed: it may hold a secret
        *parents, last = key.split(".")
        target = options
        for parent in parents:
            target = target.setdefault(parent, {})
            _check(isinstance(target, dict), f"{key}: {parent} is given twice, once as a value")
        target[last] = _from_environment(key, text) if text.startswith(_ENVIRONMENT) else _scalar(text)
    return options


def _from_environment(key: str, text: str) -> str:
    name = text.removeprefix(_ENVIRONMENT)
    value = os.environ.get(name)
    if value is None:
        raise ValueError(f"{key}: there is no environment variable {name}")
    return value


StorageOptions = Annotated[
    dict[str, Any],
    Flag(
        "for fsspec; dots nest: client_kwargs.endpoint_url=…; secret=env:NAME reads a variable",
        metavar="K=V",
        repeat=True,
        secret=True,
        unset="none",
        before=parse_storage_options,
    ),
]


@dataclass(frozen=True, kw_only=True)
class InputConfig(Settings):
    """Which rows are read, and how."""

    section = "input"

    input: Annotated[
        tuple[str, ...],
        Flag("Parquet files, directories or globs; local or s3:// and the like", metavar="PATH", repeat=True),
    ]
    image_column: Annotated[
        str | None, Flag("column of image bytes, of {bytes, path}, or of URIs", unset="found by name")
    ] = None
    image_index: Annotated[
        int | None, Flag("which image of a list, from 0", unset="the only one; several fail the row"), Ge(0)
    ] = None
    phrase_column: Annotated[
        str | None,
        Flag("column of phrases, e.g. sentences.sent; '' asks the ontology's prompts", unset="found by name"),
    ] = None
    ontology: Annotated[
        Ontology | None,
        Flag("classes with their prompts (docs/ontology.md)", metavar="YAML", before=read_ontology),
    ] = None
    id_column: Annotated[
        str | None, Flag("column of image ids; '' makes ids from positions", unset="found by name")
    ] = None
    mask_column: Annotated[
        str | None, Flag("column of true masks, for quality; of annotate with --baseline-images")
    ] = None
    image_root: Annotated[str | None, Flag("directory or prefix that relative image paths start from")] = None
    allow_prefixes: Annotated[
        tuple[str, ...], Flag("images may come from here, too", option="--allow-prefix", metavar="URI", repeat=True)
    ] = ()
    max_pixels: Annotated[int, Flag("larger images fail"), Ge(1)] = 100_000_000
    truncated: Annotated[
        str, Flag("a JPEG that ends early fails, or what is missing is grey", choices=("fail", "keep"))
    ] = "fail"
    shard_images: Annotated[
        int | None,
        Flag("rows a shard: the unit of work and of resuming", unset="64, fewer where they are heavy"),
        Ge(1),
    ] = None
    limit: Annotated[int | None, Flag("the first N rows only", unset="all"), Ge(1)] = None
    sample: Annotated[
        float | None, Flag("this share of the rows only, chosen by hash", unset="all"), Interval(gt=0, le=1)
    ] = None


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """Which model annotates, and how it is asked."""

    section = "model"

    model: Annotated[str, Flag("demo, a directory, or a Hugging Face id")] = "demo"
    clip: Annotated[str | None, Flag("CLIP directory or id, for checkpoints that hold none")] = None
    device: Annotated[str, Flag("where the model runs", choices=DEVICES)] = "auto"
    precision: Annotated[str, Flag("of the weights; auto suits the device", choices=PRECISIONS)] = "auto"
    formulation: Annotated[
        str,
        Flag("how its parts compute (docs/architecture.md): auto, or sam=KIND,llama=KIND,clip=KIND", metavar="KINDS"),
    ] = AUTO
    resizing: Annotated[
        str,
        Flag("the release's pixels, or a few a level off for a third of the CPU time", choices=RESIZING),
    ] = "exact"
    num_retain_tokens: Annotated[int | None, Flag("visual tokens kept per prompt, or all", word="all"), Ge(1)] = 192
    rule: Annotated[str, Flag("pruning rule (docs/rules.md)", choices=RULES)] = "release"
    order: Annotated[str, Flag("order of kept tokens", choices=ORDERS)] = "auto"
    positions: Annotated[str, Flag("position ids of kept tokens", choices=POSITIONS)] = "compact"
    layout: Annotated[
        str,
        Flag("a prompt per phrase, one conversation, or one visual prefix per image", choices=LAYOUTS),
    ] = "separate"
    question: Annotated[str | None, Flag("question template, with {phrase}", unset="the model's own")] = None
    answer: Annotated[str | None, Flag("answer template, with [SEG]", unset="the model's own")] = None
    phrase_case: Annotated[str, Flag("of phrases in prompts; lower is the releases'", choices=PHRASE_CASES)] = "lower"
    signals: Annotated[
        tuple[str, ...],
        Flag("more columns for reviewers, which cost time (docs/signals.md), of", metavar="LIST", choices=SIGNALS),
    ] = ()
    instance_threshold: Annotated[
        float | None,
        Flag("of SAM 3 (docs/models.md): instances with a lower score are left out", unset="0.5"),
        Interval(ge=0, le=1),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        on_cpu = self.device == "cpu"
        _check(not (on_cpu and self.precision == "fp8"), "--precision fp8 needs a GPU, and --device is cpu; use fp32")
        parse_formulation(self.formulation)
        _check(self.question is None or "{phrase}" in self.question, "--question does not contain {phrase}")
        _check(self.answer is None or "[SEG]" in self.answer, "--answer does not contain [SEG]")

    @property
    def is_demo(self) -> bool:
        """Whether this is the small checkpoint that comes with the project."""
        return self.model == "demo"

    @property
    def tokens_in_words(self) -> str:
        """The budget as `--num-retain-tokens` takes it."""
        return "all" if self.num_retain_tokens is None else str(self.num_retain_tokens)


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(Settings):
    """Where and how wide it runs. Nothing here changes a result."""

    section = "cluster"

    num_actors: Annotated[
        tuple[int, int], Flag("copies of the model", metavar="N|MIN,MAX", unset="1", before=parse_actors)
    ] = (1, 1)
    gpus_per_actor: Annotated[float, Flag("GPUs that each copy takes"), Gt(0)] = 1.0
    batch_images: Annotated[int | None, Flag("images encoded together, or auto", word="auto"), Ge(1)] = None
    ray_address: Annotated[str | None, Flag("cluster to use", unset="RAY_ADDRESS, else this machine")] = None
    num_cpus: Annotated[
        int | None,
        Flag("logical CPUs of a Ray started on this machine", unset="all"),
        Ge(2),
    ] = None
    wait_for_resources: Annotated[
        float | None,
        Flag("how long to wait until the cluster has room for an actor", metavar="SECONDS", unset="without end"),
        Ge(0),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.num_actors
        _check(1 <= low <= high, f"--num-actors is {low},{high}; give N, or MIN,MAX with 1 <= MIN <= MAX")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """One run of `jobs/annotate.py`."""

    section = "output"

    source: InputConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    output: Annotated[str, Flag("directory or object-store prefix", metavar="DIR")]
    storage_options: StorageOptions = field(default_factory=dict)
    overwrite: Annotated[bool, Flag("remove an older run in the output first")] = False
    max_failure_rate: Annotated[
        float, Flag("share of failed records above which the run fails (exit code 3)"), Interval(ge=0, le=1)
    ] = 0.05
    baseline_images: Annotated[int, Flag("annotate N images unpruned as well, and compare"), Ge(0)] = 0
    gpu_price: Annotated[float | None, Flag("per GPU and hour, for cost figures"), Ge(0)] = None
    write_images: Annotated[
        bool, Flag("copy the images, too, upright and by their names in the COCO files, into upright/")
    ] = False
    skip_reviewed: Annotated[
        tuple[str, ...],
        Flag(
            "phrases that reviewers have decided there are not asked (docs/review.md)", metavar="REVIEWED", repeat=True
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class EarlierRun(Settings):
    """A run that is looked at."""

    output: Annotated[str, Flag("the --output of a run, finished or not", positional=True)]
    gpu_price: Annotated[float | None, Flag("per GPU and hour", unset="what the run was given"), Ge(0)] = None
    storage_options: StorageOptions = field(default_factory=dict)


def load_yaml(path: str, settings: type[Settings] = RunConfig) -> dict[str, Any]:
    """Settings of a YAML file, flat, names as the flags with `-` or `_`. Raises ValueError naming what does not fit."""
    try:
        with open(path, encoding="utf-8") as file:
            loaded = yaml.safe_load(file)
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"--config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    _check(isinstance(loaded, dict | None), f"--config {path} must be a mapping of settings, e.g. `rule: paper`")
    keys = {name: one.key for one in flat(settings) for name in (one.key, one.option.strip("-").replace("-", "_"))}
    values = {str(key).replace("-", "_"): value for key, value in (loaded or {}).items()}
    try:
        check_known(values, keys)
    except ValueError as error:
        raise ValueError(f"--config {path}: {error}") from error
    return {keys[name]: value for name, value in values.items()}


def fingerprint_facts(config: RunConfig, *, files: list[dict[str, Any]], columns: str, revision: str) -> dict[str, Any]:
    """Everything that decides a run's results, as flat JSON values. Two runs may share an output only if all agree."""
    facts: dict[str, Any] = {"format_version": FORMAT_VERSION, "model_revision": revision, "columns": columns}
    facts["input_files"] = files
    source, model = dataclasses.asdict(config.source), dataclasses.asdict(config.model)
    for key in ("shard_images", "limit", "sample", "image_root", "allow_prefixes", "max_pixels", "truncated"):
        facts[key] = source[key]
    for key in model:
        if key not in ("device", "formulation", "instance_threshold"):  # where and how it is computed
            facts[key] = model[key]
    if config.model.instance_threshold is not None:  # of detectors alone
        facts["instance_threshold"] = config.model.instance_threshold
    facts["ontology"] = config.source.ontology.describe() if config.source.ontology else None
    facts["batch_images"] = config.cluster.batch_images
    facts["baseline_images"] = config.baseline_images  # their records say how far both answers agree
    return json.loads(json.dumps(facts))


def fingerprint(facts: dict[str, Any]) -> str:
    """Hash of the facts, 32 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def describe_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One phrase per fact that differs, for the message of a refusal."""
    differences = []
    for key in sorted(set(old) | set(new)):
        if old.get(key) == new.get(key):
            continue
        if key == "input_files":
            differences.append(_describe_files(old.get(key) or [], new.get(key) or []))
        elif isinstance(old.get(key), list) and isinstance(new.get(key), list):
            differences.append(f"{key}: {_describe_lists(old[key], new[key])}")
        else:
            was, now = (_fact_in_words(key, facts.get(key)) for facts in (old, new))
            differences.append(f"{key} was {was} and is now {now}")
    return differences


def _fact_in_words(key: str, value: Any) -> str:
    return "all" if key == "num_retain_tokens" and value is None else repr(value)


def _describe_lists(old: list[Any], new: list[Any]) -> str:
    gone, come = ([item for item in some if item not in others] for some, others in ((old, new), (new, old)))
    parts = [f"{len(items)} {word}, first {items[0]!r}" for items, word in ((gone, "gone"), (come, "new")) if items]
    return "; ".join(parts) or "another order"


def redacted(config: RunConfig) -> RunConfig:
    """The configuration without the values of its storage options."""
    return dataclasses.replace(config, storage_options=_redact(config.storage_options))


def _redact(options: dict[str, Any]) -> dict[str, Any]:
    return {key: _redact(value) if isinstance(value, dict) else "<redacted>" for key, value in options.items()}


def _describe_files(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str:
    before, after = {item["path"]: item for item in old}, {item["path"]: item for item in new}
    added, gone = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    changed = sorted(path for path in set(before) & set(after) if before[path] != after[path])
    parts = [f"{len(names)} {word} ({names[0]}{', …' if len(names) > 1 else ''})"
             for word, names in (("added", added), ("gone", gone), ("changed", changed)) if names]  # fmt: skip
    return f"input files differ: {', '.join(parts)}"


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, bool) else text


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
