"""The command line: what it refuses, in one line and with code 2; and whole runs with a real model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from litelvlm.jobs.annotate import main, read_flags
from tests.conftest import ROOT
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY
from tests.pipeline.samples import read_coco, read_records, row, write_table

MODEL = ["--model", "demo", "--num-retain-tokens", "21"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [row(number, "the red box", "a dog") for number in range(6)]
    rows[2]["image"] = b"<html>"
    return write_table(tmp_path_factory.mktemp("cli") / "in.parquet", rows)


def not_parquet(tmp_path: Path) -> str:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 and then nothing that makes sense")
    return str(path)


def other_model(tmp_path: Path) -> str:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "bert"}')
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "{tmp}/none.parquet"], "no such path"),
        (["--input", "{tmp}/none/*.parquet"], "nothing matches"),
        (["--input", "nope://x/in.parquet"], "nope"),
        (["--input", "{broken}"], "is not readable Parquet"),
        (["--image-column", "picture"], "--image-column picture: no such column"),
        (["--phrase-column", "words"], "--phrase-column words: no such column"),
        (["--num-retain-tokens", "0"], "--num-retain-tokens is 0"),
        (["--num-retain-tokens", "many"], "--num-retain-tokens"),
        (["--rule", "magic"], "magic"),
        (["--layout", "spiral"], "--layout"),
        (["--order", "sideways"], "sideways"),
        (["--question", "what is it?"], "--question"),
        (["--model", "{tmp}/none"], "no such directory"),
        (["--model", "{tmp}"], "config.json"),
        (["--model", "{model}"], "is this a GLaMM checkpoint"),
        (["--num-actors", "two"], "--num-actors"),
        (["--sample", "2"], "--sample"),
        (["--config", "{tmp}/none.yaml"], "--config"),
        (["--image-root", "ftp://x"], "--image-root"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--output", "/proc/none/out"], "output"),
        (["--output", "{file}/out"], "output"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(
    arguments: Any, message: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"tmp": tmp_path, "broken": not_parquet(tmp_path), "model": other_model(tmp_path), "file": source}
    given = [argument.format(**places) for argument in arguments]
    defaults = ["--input", source, "--output", str(tmp_path / "out"), *MODEL]
    assert main([*defaults, *given]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["--input", "--output"])
def test_the_two_paths_must_be_given(
    missing: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"--input": source, "--output": str(tmp_path / "out")}
    del arguments[missing]
    assert main([part for pair in arguments.items() for part in pair]) == 2
    assert f"{missing} is missing" in capsys.readouterr().err


def test_an_output_of_something_else_is_left_alone(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/records").mkdir(parents=True)
    (tmp_path / "out/records/precious.parquet").write_bytes(b"mine")
    assert main(["--input", source, "--output", str(tmp_path / "out"), *MODEL]) == 2
    assert "not a run of this job" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["records"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", source, "--output", str(tmp_path / "out"), *MODEL, "--shard-images", "4", "--limit", "5"]
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for expected in ("image=image (bytes), phrase=phrases, id=image_id", "2 of at most 4 rows, 0 done", "(new)"):
        assert expected in printed
    assert not (tmp_path / "out").exists()


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("input: a.parquet\noutput: out\nrule: paper\nnum-retain-tokens: 48\nnum-actors: 2,4\n")
    config, _ = read_flags(["--config", str(path), "--rule", "none"])
    assert (config.model.rule, config.model.num_retain_tokens, config.cluster.num_actors) == ("none", 48, (2, 4))
    assert config.source.input == ("a.parquet",)


@pytest.mark.usefixtures("local_ray")
def test_a_run_its_repetition_and_refusals(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    arguments = ["--input", source, "--output", str(output), *MODEL, "--shard-images", "4", "--max-failure-rate", "0.2"]
    code, told = main(arguments), capsys.readouterr().err
    assert code == 0, told
    records = read_records(output)
    assert len(records) == 12
    assert {record["source_row"] for record in records if record["status"] == "failed"} == {2}
    assert {record["num_retained_tokens"] for record in records if record["status"] != "failed"} == {21}
    assert len(read_coco(output)["images"]) == 5
    assert "Traceback" not in told
    assert "rows 6/6" in told

    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().err

    assert main([*arguments, "--num-retain-tokens", "7"]) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "num_retain_tokens was 21 and is now 7" in refused
    assert len(read_records(output)) == 12


@pytest.mark.usefixtures("local_ray")
def test_a_run_of_another_model(
    source: str, sam3_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--input", source, "--output", str(output), "--model", str(sam3_tiny), "--max-failure-rate", "0.2"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "rule none, all visual tokens kept per prompt" in capsys.readouterr().out
    assert main([*arguments, "--rule", "paper"]) == 2
    assert capsys.readouterr().err.startswith("error: --rule: SAM 3 prunes nothing")
    code, told = main(arguments), capsys.readouterr().err
    assert code == 0, told
    assert told.startswith("SAM 3 prunes nothing: ")
    records = read_records(output)
    assert len(records) == 12
    assert {one["status"] for one in records if one["source_row"] != 2} <= {"ok", "empty"}
    summary = json.loads((output / "run.json").read_text())
    assert (summary["formulations"], summary["totals"]["tflop"]) == (["transformers"], None)
    assert summary["config"]["model"]["instance_threshold"] == 0.5
    assert "not measured" in (output / "report.html").read_text()


@pytest.mark.usefixtures("local_ray")
def test_a_failure_rate_that_is_exceeded_ends_in_code_3_and_keeps_the_work(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    code = main(["--input", source, "--output", str(output), *MODEL, "--max-failure-rate", "0.1"])
    told = capsys.readouterr().err
    assert code == 3, told
    assert "html" in told.splitlines()[-1]
    assert not (output / "_SUCCESS").exists()
    assert json.loads((output / "run.json").read_text())["exit_code"] == 3
    assert pq.read_table(output / "errors.parquet").num_rows == 2
    assert list((output / "_done").iterdir())


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("number", "word", "own_ray"), [(signal.SIGTERM, "terminated", True), (signal.SIGINT, "interrupted", False)]
)
def test_a_signal_ends_a_run_in_one_line_and_keeps_its_work(
    tmp_path: Path, number: int, word: str, own_ray: bool
) -> None:
    source = write_table(tmp_path / "in.parquet", [row(one, "the red box") for one in range(80)])
    output = tmp_path / "out"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "tests.signalled_run", source, str(output)]
    if not own_ray:
        environment |= {"RAY_AUTH_MODE": "disabled", "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
        command.append(ray.get_runtime_context().gcs_address)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while len(list(output.glob("_done/*.json"))) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told
    assert re.fullmatch(rf"{word}: \d+ of 20 shards are committed; run again to resume", told.splitlines()[-1])
    assert "Traceback" not in told
    assert "SIGTERM received" not in told


@pytest.mark.usefixtures("local_ray")
def test_a_checkpoint_of_another_shape_is_bad_usage(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in GLAMM_TINY.iterdir():
        if path.name != "config.json":
            (model / path.name).symlink_to(path)
    config = json.loads((GLAMM_TINY / "config.json").read_text())
    config["intermediate_size"] += 8
    (model / "config.json").write_text(json.dumps(config))
    arguments = ["--input", source, "--output", str(tmp_path / "out"), "--model", str(model), "--clip", str(CLIP_TINY)]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert "does not fit the model" in captured.err.splitlines()[-1]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()], "the claim was kept"
