"""What a run is asked to do: frozen configuration, its validation, its fingerprint, and how it is written down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from litelvlm.pipeline.schemas import FORMAT_VERSION

PRECISIONS = ("auto", "bf16", "fp32", "fp8")
DEVICES = ("auto", "cpu", "cuda")
RESIZING = ("exact", "fast")
LAYOUTS = ("separate", "rounds", "shared")
DEFAULT_QUESTION = "Can you segment the {phrase} in this image?"
DEFAULT_ANSWER = "It is [SEG]."


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Which rows are read, and how."""

    input: tuple[str, ...] = ()
    image_column: str | None = None
    phrase_column: str | None = None
    id_column: str | None = None
    mask_column: str | None = None
    image_root: str | None = None
    allow_prefixes: tuple[str, ...] = ()
    max_pixels: int = 100_000_000
    shard_images: int = 64
    limit: int | None = None
    sample: float | None = None

    def __post_init__(self) -> None:
        _check(bool(self.input), "--input is missing: give a Parquet file, a directory or a glob")
        _check(self.shard_images >= 1, f"--shard-images is {self.shard_images}; it must be at least 1")
        _check(self.max_pixels >= 1, f"--max-pixels is {self.max_pixels}; it must be at least 1")
        _check(self.limit is None or self.limit >= 1, f"--limit is {self.limit}; it must be at least 1")
        fits = self.sample is None or 0.0 < self.sample <= 1.0
        _check(fits, f"--sample is {self.sample}; it must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model annotates, and how it is asked. Checked in full by `litelvlm` where it is used."""

    model: str = "demo"
    clip: str | None = None
    device: str = "auto"
    precision: str = "auto"
    resizing: str = "exact"
    num_retain_tokens: int | None = 192
    rule: str = "release"
    order: str = "auto"
    positions: str = "compact"
    layout: str = "separate"
    question: str = DEFAULT_QUESTION
    answer: str = DEFAULT_ANSWER

    def __post_init__(self) -> None:
        _check_choice("--device", self.device, DEVICES)
        _check_choice("--precision", self.precision, PRECISIONS)
        on_cpu = self.device == "cpu"
        _check(not (on_cpu and self.precision == "fp8"), "--precision fp8 needs a GPU, and --device is cpu; use fp32")
        _check_choice("--resizing", self.resizing, RESIZING)
        _check_choice("--layout", self.layout, LAYOUTS)
        budget = self.num_retain_tokens
        _check(budget is None or budget >= 1, f"--num-retain-tokens is {budget}; it must be at least 1")
        _check("{phrase}" in self.question, "--question does not contain {phrase}")
        _check("[SEG]" in self.answer, "--answer does not contain [SEG]")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where and how wide it runs. Nothing here changes a result."""

    num_actors: tuple[int, int] = (1, 1)
    gpus_per_actor: float = 1.0
    batch_images: int | None = None
    ray_address: str | None = None
    num_cpus: int | None = None

    def __post_init__(self) -> None:
        low, high = self.num_actors
        _check(1 <= low <= high, f"--num-actors is {low},{high}; give N, or MIN,MAX with 1 <= MIN <= MAX")
        _check(self.gpus_per_actor > 0, f"--gpus-per-actor is {self.gpus_per_actor}; it must be above 0")
        _check(self.batch_images is None or self.batch_images >= 1, "--batch-images must be auto or at least 1")
        _check(
            self.num_cpus is None or self.num_cpus >= 2, "--num-cpus must be at least 2: actors and tasks need one each"
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run of `jobs/annotate.py`."""

    output: str
    source: InputConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    storage_options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    max_failure_rate: float = 0.05
    baseline_images: int = 0
    gpu_price: float | None = None

    def __post_init__(self) -> None:
        _check(bool(self.output), "--output is missing: give a directory or an object-store prefix")
        _check(0 <= self.max_failure_rate <= 1, f"--max-failure-rate is {self.max_failure_rate}; it must be 0 to 1")
        _check(self.baseline_images >= 0, f"--baseline-images is {self.baseline_images}; it must be 0 or more")
        _check(self.gpu_price is None or self.gpu_price >= 0, f"--gpu-price is {self.gpu_price}; it must be 0 or more")

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> RunConfig:
        """Build from one flat mapping, as flags and YAML files have it. None means "not given".

        Raises:
            ValueError: an unknown key, or a value that does not fit, naming it.
        """
        given = {key: value for key, value in values.items() if value is not None}
        sections = {"source": InputConfig, "model": ModelConfig, "cluster": ClusterConfig}
        arguments: dict[str, Any] = {}
        for name, section in sections.items():
            names = {item.name for item in dataclasses.fields(section)}
            arguments[name] = section(**{key: given.pop(key) for key in list(given) if key in names})
        own = {item.name for item in dataclasses.fields(cls)} - set(sections)
        unknown = sorted(set(given) - own)
        _check(not unknown, f"unknown setting {', '.join(unknown)}; known ones: {', '.join(known_settings())}")
        given.setdefault("output", "")
        return cls(**arguments, **given)


def known_settings() -> tuple[str, ...]:
    """Names a flat mapping may use: the flags without dashes."""
    classes = (InputConfig, ModelConfig, ClusterConfig, RunConfig)
    names = {item.name for cls in classes for item in dataclasses.fields(cls)}
    return tuple(sorted(names - {"source", "cluster"}))


def parse_actors(value: str | int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    """`4`, `"4"`, `"2,16"` or `[2, 16]` to a range of actors. Raises ValueError naming the flag."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(f"--num-actors is {value!r}; give N, or MIN,MAX") from error
    _check(len(numbers) in (1, 2), f"--num-actors is {value!r}; give N, or MIN,MAX")
    return numbers[0], numbers[-1]


def parse_storage_options(pairs: list[str]) -> dict[str, Any]:
    """`["key=v", "client_kwargs.endpoint_url=http://…"]` to nested fsspec options; JSON scalars become their type."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        _check(bool(separator and key), "--storage-options takes key=value")  # never echoed: it may hold a secret
        *parents, last = key.split(".")
        target = options
        for parent in parents:
            target = target.setdefault(parent, {})
            _check(isinstance(target, dict), f"--storage-options {key}: {parent} is given twice, once as a value")
        target[last] = _scalar(text)
    return options


def load_yaml(path: str) -> dict[str, Any]:
    """Settings of a YAML file, flat, names as the flags with `-` or `_`. Raises ValueError naming what does not fit."""
    try:
        with open(path, encoding="utf-8") as file:
            loaded = yaml.safe_load(file)
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"--config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    _check(isinstance(loaded, dict), f"--config {path} must be a mapping of settings, e.g. `rule: paper`")
    settings = {str(key).replace("-", "_"): value for key, value in loaded.items()}
    unknown = sorted(set(settings) - set(known_settings()))
    _check(not unknown, f"--config {path}: unknown setting {', '.join(unknown)}")
    return settings


def fingerprint_facts(config: RunConfig, *, files: list[dict[str, Any]], columns: str, revision: str) -> dict[str, Any]:
    """Everything that decides a run's results, as flat JSON values. Two runs may share an output only if all agree."""
    facts: dict[str, Any] = {"format_version": FORMAT_VERSION, "model_revision": revision, "columns": columns}
    facts["input_files"] = files
    source, model = dataclasses.asdict(config.source), dataclasses.asdict(config.model)
    for key in ("shard_images", "limit", "sample", "image_root", "allow_prefixes", "max_pixels"):
        facts[key] = source[key]
    for key in model:
        if key not in ("device",):
            facts[key] = model[key]
    facts["batch_images"] = config.cluster.batch_images
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
            differences.append(f"{key} was {old.get(key)!r} and is now {new.get(key)!r}")
    return differences


def _describe_lists(old: list[Any], new: list[Any]) -> str:
    gone, come = ([item for item in some if item not in others] for some, others in ((old, new), (new, old)))
    parts = [f"{len(items)} {word}, first {items[0]!r}" for items, word in ((gone, "gone"), (come, "new")) if items]
    return "; ".join(parts) or "another order"


def redacted(config: RunConfig) -> dict[str, Any]:
    """The config as JSON values, with the values of storage options left out."""
    values = dataclasses.asdict(config)
    values["storage_options"] = _redact(values["storage_options"])
    return json.loads(json.dumps(values))


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


def _check_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    _check(value in choices, f"{flag} is {value!r}; choose from {', '.join(choices)}")
