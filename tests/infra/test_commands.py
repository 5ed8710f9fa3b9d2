"""Every command in the manifests and in docs/cluster.md is one that its program takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from ray.scripts.scripts import cli

from litelvlm.jobs import annotate, convert, report, throughput
from litelvlm.pipeline.config import RunConfig
from tests.conftest import ROOT
from tests.infra.deployment import (
    calls,
    dockerfile,
    document,
    final_stage,
    guide_commands,
    manifest_commands,
    values_of,
)

JOBS = r"\S*jobs/\w+\.py"
COMMANDS = guide_commands() + manifest_commands()


def job_calls(name: str, commands: list[str] = COMMANDS) -> list[list[str]]:
    return [words[1:] for words in calls(commands, JOBS) if Path(words[0]).stem == name]


def configured(flags: list[str]) -> RunConfig:
    config, _ = annotate.read_flags(flags)
    return config


def test_scripts_are_where_the_image_has_them() -> None:
    (home,) = [item.value for item in final_stage("WORKDIR")]
    found = {words[0] for words in calls(COMMANDS, JOBS)}
    assert len(found) >= 4
    for script in found:
        assert (ROOT / script.removeprefix(f"{home}/")).is_file()
    inside = manifest_commands()
    assert all(words[0].startswith(f"{home}/") for words in calls(inside, JOBS) if Path(words[0]).stem == "annotate")


def test_annotations_are_configured() -> None:
    found = [configured(flags) for flags in job_calls("annotate")]
    assert len(found) == 4
    assert all(not config.storage_options for config in found)
    for config in found:
        if config.output.startswith("s3://"):
            assert config.model.device == "cuda"
        else:
            assert config.model.model == "demo"


def test_the_default_command_of_the_image_prints_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [item.value for item in dockerfile() if item.name == "CMD"]
    assert command == '["python", "jobs/annotate.py", "--help"]'
    with pytest.raises(SystemExit):
        annotate.main(["--help"])
    assert "--num-retain-tokens" in capsys.readouterr().out


def test_the_run_uses_the_converted_model_and_the_pods_that_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        "litelvlm.convert.convert_checkpoint",
        lambda *given, **more: (asked.append(given), given[1])[1],  # type: ignore[func-returns-value]
    )
    (flags,) = job_calls("convert")
    assert convert.main(flags) == 0
    (config,) = [configured(flags) for flags in job_calls("annotate", manifest_commands())]
    assert config.model.model == asked[0][1]
    worker = document("kuberay/rayjob.yaml")["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    (limits,) = values_of(worker, "limits")
    gpus = worker["maxReplicas"] * int(limits["nvidia.com/gpu"])
    assert config.cluster.num_actors[1] * config.cluster.gpus_per_actor == gpus
    assert config.cluster.num_actors[0] == 1


@pytest.mark.parametrize("job", [throughput, report])
def test_jobs_that_watch_take_their_arguments(
    job: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They get past their parser to the output, which is not there."""
    (flags,) = job_calls(job.__name__.split(".")[-1])
    opened = []
    monkeypatch.setattr(job, "Storage", lambda root, options: (opened.append(root), fail()))  # type: ignore[func-returns-value]

    def fail() -> Any:
        raise FileNotFoundError("no such output")

    assert job.main(flags) == 2
    assert opened == ["s3://my-bucket/run1"]
    assert "no such output" in capsys.readouterr().err


RAY_CALLS = calls(COMMANDS, r"ray (?:up|down|dashboard|start|stop|drain-node|job \w+)")


def test_ray_commands_of_every_kind_are_found() -> None:
    assert {words[1] for words in RAY_CALLS} == {"up", "down", "dashboard", "start", "stop", "drain-node", "job"}


@pytest.mark.parametrize("words", RAY_CALLS, ids=" ".join)
def test_ray_commands_parse(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command: click.Command = cli
    arguments = words[1:]
    with click.Context(cli) as context:
        while isinstance(command, click.Group):
            name, command, arguments = command.resolve_command(context, arguments)  # type: ignore[assignment]
        assert command.make_context(name, list(arguments))
        for argument in arguments:
            if argument.endswith(".yaml") and not argument.startswith("-"):
                assert Path(argument).is_file()


def test_kubectl_gets_files_that_exist() -> None:
    found = calls(guide_commands(), "kubectl (?:apply|create)")
    files = [words[words.index("--filename") + 1] for words in found if "--filename" in words]
    files += [line.split("--filename ")[1].split("`")[0] for line in (ROOT / "docs/cluster.md").read_text().splitlines()
              if "`kubectl apply" in line]  # fmt: skip
    assert len(files) == 3
    assert all((ROOT / name).is_file() for name in files)


def test_start_parameters_are_options_of_ray_start() -> None:
    known = {option.lstrip("-") for parameter in cli.commands["start"].params for option in parameter.opts}
    groups = document("kuberay/rayjob.yaml")["spec"]["rayClusterSpec"]
    given = [name for parameters in values_of(groups, "rayStartParams") for name in parameters]
    assert len(given) == 4
    assert set(given) <= known
