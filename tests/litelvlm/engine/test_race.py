"""Races: who is taken, what is remembered, and what a device without kernels refuses."""

from __future__ import annotations

import functools
import json
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from litelvlm import Annotator
from litelvlm.engine import race as module
from litelvlm.engine.race import (
    CANDIDATES,
    REFERENCES,
    cache_file,
    choose,
    race,
    race_clip,
    race_llama,
    race_sam,
    remember,
    remembered,
)
from litelvlm.formulation import KINDS, NEED_GPU, Formulation
from tests import fakes_attention

EXPECTED = torch.tensor([1.0, -4.0])
RESULT = {"fastest": "padded", "candidates": {}}


def candidate(seconds: float, error: float = 0.0) -> Callable[[], Callable[[], Tensor]]:
    """One that takes so long, by the timer below."""

    def prepare() -> Callable[[], Tensor]:
        def run() -> Tensor:
            return EXPECTED + error

        run.seconds = seconds  # type: ignore[attr-defined]
        return run

    return prepare


def broken() -> Any:
    raise ModuleNotFoundError("No module named 'triton'")


def run_race(**runs: Any) -> Any:
    return race(runs, "reference", 0.05, lambda run: run.seconds, rounds=3)  # type: ignore[attr-defined]


def test_the_fastest_exact_one_is_taken() -> None:
    found = run_race(reference=candidate(0.01), a=candidate(0.006, 0.1), b=candidate(0.004), c=candidate(0.001, 0.3))
    assert found["fastest"] == "b"
    assert found["candidates"]["a"] == {"ms": 6.0, "error": pytest.approx(0.025)}
    assert found["candidates"]["c"]["error"] > 0.05


@pytest.mark.parametrize("runs", [{}, {"a": candidate(0.0099)}, {"a": candidate(0.02)}, {"a": broken}])
def test_who_is_not_faster_or_fails_is_not_taken(runs: Any) -> None:
    found = run_race(reference=candidate(0.01), **runs)
    assert found["fastest"] == "reference"
    assert all(one is not broken or "triton" in found["candidates"][name]["failed"] for name, one in runs.items())


def test_nan_is_not_exact() -> None:
    assert run_race(reference=candidate(0.01), a=candidate(0.001, float("nan")))["fastest"] == "reference"


def test_a_cpu_does_not_race(tiny_annotator: Annotator, tmp_path: Path) -> None:
    file = tmp_path / "formulations.json"
    assert choose(tiny_annotator.model, "auto", cache=file) == Formulation()
    assert choose(tiny_annotator.model, "sam=folded", cache=file) == Formulation(sam="folded")
    for asked in ("llama=compiled", "clip=compiled", "sam=folded+compiled"):
        part, kind = asked.split("=")
        assert choose(tiny_annotator.model, asked, cache=file) == Formulation(**{part: kind})
    assert not file.exists()
    for part, kinds in NEED_GPU.items():
        for kind in kinds:
            with pytest.raises(ValueError, match=f"{re.escape(kind)} needs a CUDA device, not cpu; use auto or "):
                choose(tiny_annotator.model, f"{part}={kind}", cache=file)
    assert tiny_annotator.formulation == Formulation()


class OnGpu:
    """A model that says it is on a GPU."""

    device = torch.device("cuda")


def test_open_parts_are_raced_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    races: list[str] = []
    monkeypatch.setattr(module, "race_key", lambda model: "a GPU")
    for part, fastest in (("sam", "kernel"), ("llama", "kernels"), ("clip", "compiled")):
        result = {"fastest": fastest, "candidates": {}}
        monkeypatch.setattr(module, f"race_{part}", lambda model, p=part, r=result: (races.append(p), r)[1])  # type: ignore[func-returns-value]
    file = tmp_path / "deep" / "formulations.json"
    assert choose(OnGpu(), "sam=folded,llama=padded,clip=plain", cache=file) == Formulation(sam="folded")
    assert races == []
    assert choose(OnGpu(), "sam=folded,clip=plain", cache=file) == Formulation(sam="folded", llama="kernels")
    everything = Formulation(sam="kernel", llama="kernels", clip="compiled")
    assert choose(OnGpu(), "auto", cache=file) == everything
    assert choose(OnGpu(), "auto", cache=file) == everything
    assert races == ["llama", "sam", "clip"]


def test_without_memory_for_a_race_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(model: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "race_key", lambda model: "a GPU")
    monkeypatch.setattr(module, "race_sam", full)
    file = tmp_path / "formulations.json"
    assert choose(OnGpu(), "llama=kernels", cache=file) == Formulation(sam="folded", llama="kernels")
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', '{"a": {"llama": {"fastest": "slow"}, "x": 1}}'])
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "formulations.json"
    file.write_text(text)
    assert not any(remembered(file).values())
    remember(file, "key", {"llama": RESULT})
    assert remembered(file)["key"] == {"llama": RESULT}


def test_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remember(tmp_path / "file" / "formulations.json", "key", {"llama": RESULT})
    assert remembered(tmp_path / "file" / "formulations.json") == {}


def _remember_often(file: Path, name: str) -> None:
    for _ in range(50):
        remember(file, name, {"llama": RESULT})


def test_two_processes_leave_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "formulations.json"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_remember_often, args=(file, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert set(json.loads(file.read_text())) <= {"a", "b"}
    assert remembered(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_it_is_remembered_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file() == tmp_path / "litelvlm" / "formulations.json"


def test_what_races_is_known_and_the_reference_is_among_it() -> None:
    assert set(CANDIDATES) == set(KINDS) == set(REFERENCES)
    for part, kinds in CANDIDATES.items():
        assert REFERENCES[part] in kinds
        assert set(kinds) <= set(KINDS[part])


@pytest.mark.slow
def test_candidates_of_a_model_agree(tiny_annotator: Annotator, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, with stand-ins for the kernel of stretches and for the compiler; what needs Triton is left out."""
    compile_as_given = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr("torch.compile", lambda function, **options: compile_as_given(function, fullgraph=True))
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fakes_attention.varlen_attn)
    monkeypatch.setattr(module, "_seconds", lambda run: 1.0)
    monkeypatch.setattr("litelvlm.engine.race_inputs._IMAGES", 1)
    candidates = {
        "sam": ("plain", "folded", "flex+compiled"),
        "llama": ("padded", "stretches", "compiled"),
        "clip": ("plain", "compiled"),
    }
    monkeypatch.setattr(module, "CANDIDATES", candidates)
    model = tiny_annotator.model
    for part, found in (("sam", race_sam(model)), ("llama", race_llama(model)), ("clip", race_clip(model))):
        assert tuple(sorted(found["candidates"])) == tuple(sorted(candidates[part]))
        assert all(0 <= one["error"] < 1e-3 for one in found["candidates"].values()), found


@pytest.mark.slow
def test_a_kernel_or_a_compiler_that_is_missing_is_told_and_not_taken(
    tiny_annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN has none for a CPU; what falls back to plain PyTorch later does not in a race."""

    def no_compiler(function: Any, **options: Any) -> Any:
        def compiled(*args: Any) -> Any:
            raise TorchDynamoException("no compiler")

        return compiled

    monkeypatch.setattr("torch.compile", no_compiler)
    monkeypatch.setattr(module, "_seconds", lambda run: 1.0)
    monkeypatch.setattr("litelvlm.engine.race_inputs._IMAGES", 1)
    candidates = {"sam": ("folded", "cudnn", "folded+compiled"), "clip": ("plain", "compiled")}
    monkeypatch.setattr(module, "CANDIDATES", candidates)
    found = race_sam(tiny_annotator.model)
    assert found["fastest"] == "folded"
    assert found["candidates"]["cudnn"]["failed"].startswith("RuntimeError: ")
    assert found["candidates"]["folded+compiled"]["failed"].startswith("TorchDynamoException: ")
    found = race_clip(tiny_annotator.model)
    assert found["fastest"] == "plain"
    assert "no compiler" in found["candidates"]["compiled"]["failed"]
