"""The command that converts a checkpoint, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from litelvlm.checkpoint import open_checkpoint
from litelvlm.jobs.convert import main
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

TINY = ["--model", str(GLAMM_TINY), "--clip", str(CLIP_TINY)]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "expected"), [([], "torch.bfloat16"), (["--dtype", "float32"], "torch.float32")])
def test_a_checkpoint_is_converted_in_the_dtype_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    output = tmp_path / "out"
    assert main([*TINY, "--output", str(output), *flags]) == 0
    assert capsys.readouterr().out == f"converted {GLAMM_TINY} to {output}\n"
    assert str(load_file(output / "model.safetensors")["llm.norm.weight"].dtype) == expected
    assert open_checkpoint(output).converted


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([*TINY, "--output", "{tmp}"], "output: "),
        (["--model", "{tmp}/none", "--output", "{tmp}/out"], "model: no such directory"),
        (["--model", str(CLIP_TINY), "--output", "{tmp}/out"], "its config.json says CLIPModel; known are GLaMM"),
    ],
    ids=["output in use", "no model", "another model"],
)
def test_mistakes_are_told_in_a_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], reason: str
) -> None:
    (tmp_path / "in_use").touch()
    assert main([flag.replace("{tmp}", str(tmp_path)) for flag in flags]) == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert message.startswith("error: ")
    assert reason in message
    assert [path.name for path in tmp_path.iterdir()] == ["in_use"]
