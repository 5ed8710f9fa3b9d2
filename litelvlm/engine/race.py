"""A short race of formulations on the device, when the model is loaded.

Every candidate runs on the race's own inputs and is compared with the plainest one that runs on a GPU. One that fails,
is not exact to tolerance or is not faster is not taken; without memory for a race there is none. Results are remembered
for a device, a version of PyTorch and a model's sizes in a JSON file under the user's cache directory, which several
processes may write: each replaces it as a whole, so that a lost entry is a race more.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.compiled import no_fallback
from litelvlm.compiled_clip import clip_encoder
from litelvlm.config import GlammConfig
from litelvlm.engine.race_inputs import race_clip_pixels, race_pixels, race_prompts
from litelvlm.formulation import KINDS, NEED_GPU, Formulation, parse_formulation
from litelvlm.glamm import GlammModel
from litelvlm.packed_llama import PackedLlama
from litelvlm.sam_encoders import sam_encoder

Run = Callable[[], Tensor]
Timer = Callable[[Run], float]

REFERENCES = {"sam": "folded", "llama": "padded", "clip": "plain"}
CANDIDATES = KINDS | {"sam": tuple(kind for kind in KINDS["sam"] if kind not in ("plain", "biased"))}
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05}  # of the largest value of the reference
_GAIN = 0.98  # of the reference's seconds, that a candidate may take at most
_ROUNDS = 5
_VERSION = 2  # of the candidates; a new one forgets what was remembered


def choose(model: GlammModel, asked: str, *, cache: Path | None = None) -> Formulation:
    """The formulation of a model on its device.

    Args:
        model: on its device, with its weights.
        asked: what `parse_formulation` takes; parts that are left open are raced for on a GPU.
        cache: the file of earlier races; None is the user's.

    Raises:
        ValueError: what is asked for is not known, or not there on this device.
    """
    fixed = parse_formulation(asked)
    if model.device.type != "cuda":
        _check_fixed(fixed, model.device.type)
        return Formulation(**fixed)
    open_parts = [part for part in KINDS if part not in fixed]
    if not open_parts:
        return Formulation(**fixed)
    path, key = cache or cache_file(), race_key(model)
    known = remembered(path).get(key, {})
    if any(part not in known for part in open_parts):
        races = {"sam": race_sam, "llama": race_llama, "clip": race_clip}
        try:
            known |= {part: races[part](model) for part in open_parts if part not in known}
        except torch.OutOfMemoryError:
            return Formulation(**REFERENCES | {part: one["fastest"] for part, one in known.items()} | fixed)
        remember(path, key, known)
    return Formulation(**fixed | {part: known[part]["fastest"] for part in open_parts})


def race(
    runs: Mapping[str, Callable[[], Run]], reference: str, tolerance: float, timer: Timer, rounds: int = _ROUNDS
) -> dict[str, Any]:
    """What became of each candidate, and the `fastest` that is as exact as asked and faster than the reference.

    Args:
        runs: by name, what prepares a candidate; the reference is one of them.
        reference: which one the others are compared with. What it raises is raised.
        tolerance: largest error, as a share of the reference's largest value.
        timer: seconds of a run, the device's work included.
        rounds: timed runs of each, after the first one.
    """
    expected_run = runs[reference]()
    expected = expected_run().float()
    largest = float(expected.abs().max())
    found: dict[str, Any] = {reference: {"ms": _median_ms(expected_run, timer, rounds), "error": 0.0}}
    for name, prepare in runs.items():
        if name == reference:
            continue
        try:
            run = prepare()
            error = float((run().float() - expected).abs().max()) / max(largest, 1e-12)
            found[name] = {"ms": _median_ms(run, timer, rounds), "error": error}
        except Exception as reason:  # noqa: BLE001 - whatever a kernel lacks on this device, the reference is there
            found[name] = {"failed": f"{type(reason).__name__}: {str(reason).strip().splitlines()[:1]}"[:200]}
    limit = _GAIN * found[reference]["ms"]
    taken = [
        (one["ms"], name)
        for name, one in found.items()
        if "ms" in one and one["error"] <= tolerance and one["ms"] <= limit
    ]
    return {"fastest": min(taken)[1] if taken else reference, "candidates": found}


def race_sam(model: GlammModel) -> dict[str, Any]:
    """The race of SAM's image encoders."""
    pixels = race_pixels(model)
    encoder = model.grounding_encoder

    def prepare(kind: str) -> Callable[[], Run]:
        def prepared() -> Run:
            encode = sam_encoder(encoder, kind)
            if kind.startswith("cudnn"):  # which may take one batch size and refuse another
                encode(pixels[:1])
            return lambda: encode(pixels)

        return prepared

    return _race(model, {kind: prepare(kind) for kind in CANDIDATES["sam"]}, REFERENCES["sam"])


def race_llama(model: GlammModel) -> dict[str, Any]:
    """The race of LLaMA's forward passes, over prompts without branches and with them."""
    packed, prefix_ids = race_prompts(model)

    def prepare(kind: str) -> Callable[[], Run]:
        def prepared() -> Run:
            llama = PackedLlama(model.llm, kind)
            prefix = llama.prefix(prefix_ids)
            return lambda: torch.cat([llama(prompts, prefix) for prompts in packed])

        return prepared

    return _race(model, {kind: prepare(kind) for kind in CANDIDATES["llama"]}, REFERENCES["llama"])


def race_clip(model: GlammModel) -> dict[str, Any]:
    """The race of CLIP's vision towers, by what the rules and the projector read; the rest is made of it."""
    pixels = race_clip_pixels(model)

    def read(features: ClipFeatures) -> list[Tensor]:
        return [one.float().flatten() for one in (features.patches, features.embedded, features.context)]

    with torch.inference_mode():
        plain = read(clip_encoder(model.clip, REFERENCES["clip"])(pixels))
        largest = [one.abs().max().clamp(min=1e-12) for one in plain]
    del plain

    def prepare(kind: str) -> Callable[[], Run]:
        def prepared() -> Run:
            encode = clip_encoder(model.clip, kind)
            return lambda: torch.cat([one / most for one, most in zip(read(encode(pixels)), largest, strict=True)])

        return prepared

    return _race(model, {kind: prepare(kind) for kind in CANDIDATES["clip"]}, REFERENCES["clip"])


def race_key(model: GlammModel) -> str:
    """What a race's result depends on: device, PyTorch, dtypes, sizes."""
    config: GlammConfig = model.config
    kinds = sorted({f"{param.dtype}".removeprefix("torch.") for param in model.llm.parameters()})
    sizes = json.dumps([asdict(one) for one in (config.sam, config.llm, config.clip)], sort_keys=True)
    device = torch.cuda.get_device_name(model.device)
    return " | ".join([str(_VERSION), device, torch.__version__, "+".join(kinds), sizes])


def cache_file() -> Path:
    """Where the user's races are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "litelvlm" / "formulations.json"


def remembered(path: Path) -> dict[str, dict[str, Any]]:
    """Earlier races by key; what is damaged or names an unknown kind is as if it were not there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        items = content.items()
    except (OSError, ValueError, AttributeError):
        return {}
    return {key: {part: one for part, one in races.items() if _is_known(part, one)} for key, races in items
            if isinstance(races, dict)}  # fmt: skip


def remember(path: Path, key: str, races: dict[str, Any]) -> None:
    """Adds a result to the file; a directory that cannot be written is no reason to stop."""
    content = json.dumps(remembered(path) | {key: races}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError:
        return


def _check_fixed(fixed: Mapping[str, str], device: str) -> None:
    for part, kind in fixed.items():
        if kind in NEED_GPU[part]:
            others = ", ".join(one for one in KINDS[part] if one not in NEED_GPU[part])
            raise ValueError(f"formulation: {part}={kind} needs a CUDA device, not {device}; use auto or {others}")


def _is_known(part: str, one: Any) -> bool:
    return part in KINDS and isinstance(one, dict) and one.get("fastest") in KINDS[part]


def _race(model: GlammModel, runs: Mapping[str, Callable[[], Run]], reference: str) -> dict[str, Any]:
    with torch.inference_mode(), no_fallback():
        return race(runs, reference, _TOLERANCE.get(model.dtype, 0.05), _seconds)


def _median_ms(run: Run, timer: Timer, rounds: int) -> float:
    return round(1000 * statistics.median(timer(run) for _ in range(rounds)), 3)


def _seconds(run: Run) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000
