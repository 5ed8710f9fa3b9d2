"""The planner's command line: what it works out from tables with known costs, what it refuses, what it says aloud."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from litelvlm.jobs.plan import main
from tests.conftest import ROOT
from tests.pipeline import planned_runs as made
from tests.pipeline.planner.test_reviews import certificate

JOB = ["--images", "160000", "--phrases-per-image", "3"]
#: Device seconds of 160,000 images with 3 phrases each at 192 tokens, by hand.
PER_IMAGE_S = 0.130 + 3 * (0.001 + 0.004 + 0.006) + 3 * 0.252 * made.PER_KILOTOKEN + made.HOST_PER_IMAGE


@pytest.fixture(autouse=True)
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(made.PRICES)
    monkeypatch.setattr("litelvlm.pipeline.planner.prices.DEFAULT_PRICES", path)


@pytest.fixture
def run(tmp_path: Path) -> str:
    table = made.compared(made.rows(tokens=192), iou=0.9)
    return made.write_run(tmp_path / "r192", table)


def rewritten(run: str, old: str, new: str) -> str:
    """The run, with another text in its `run.json`."""
    path = Path(run, "run.json")
    path.write_text(path.read_text().replace(old, new))
    return run


def plan(*arguments: str, capsys: Any = None) -> dict[str, Any]:
    """The plan as JSON; the text before it goes to `text`."""
    assert main([*arguments, "--json", "-"]) == 0
    text, separator, document = capsys.readouterr().out.partition("\n{\n")
    return json.loads(separator + document) | {"text": text}


def one(found: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """The only plan that is so."""
    chosen = [item for item in found["plans"] if all(item[key] == value for key, value in wanted.items())]
    assert len(chosen) == 1
    return chosen[0]


def test_one_instance_takes_what_its_shards_take(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan("--run", run, *JOB, "--gpu", "h100", "--budgets", "192", capsys=capsys)
    only = found["plans"][0]
    assert only["basis"] == "measured"
    assert only["device_s_per_image"] == pytest.approx(PER_IMAGE_S, rel=1e-3)
    outside_s = 180 + 90 - 12  # the node's start; the run's wall time but for its actor's
    expected_s = outside_s + made.START_S + made.WARM_UP_S + 160_000 * PER_IMAGE_S
    assert only["hours"] == pytest.approx(expected_s / 3600, rel=1e-3)
    assert only["cost"] == pytest.approx(only["hours"] * 6.88)
    assert only["gpus"] == only["instances"] == 1
    assert only["speed"] == 1.0
    assert only["quality"] == [{"kind": "agreement", "value": pytest.approx(0.9), "phrases": 72}]
    assert only["warnings"] == []
    assert not only["extrapolated"]


def test_reviewers_stand_beside_devices(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accepted = certificate(tmp_path / "accepted", accepted_share=0.75)
    arguments = ["--run", run, *JOB, "--gpu", "h100", "--budgets", "192", "--accepted", accepted]
    found = plan(*arguments, "--reviewer-price", "30", "--seconds-per-item", "6", capsys=capsys)
    assert "with reviewers at 30 USD an hour" in found["text"]
    only = found["reviews"][0]
    assert only["reviewer_hours"] == pytest.approx(480_000 / 4 * 6 / 3600)
    assert only["labels_per_unit"] == pytest.approx(480_000 / (only["reviewer_hours"] * 30 + found["plans"][0]["cost"]))
    assert "reviews" not in plan(*arguments[:-2], capsys=capsys)
    page = tmp_path / "plan.html"
    plan(*arguments, "--report", str(page), capsys=capsys)
    assert "Labels for the money" in page.read_text()


def test_a_deadline_takes_the_fewest_instances_that_keep_it(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--run", run, *JOB, "--gpu", "h100", "--budgets", "192"]
    alone = plan(*arguments, capsys=capsys)["plans"][0]
    some = plan(*arguments, "--deadline-hours", "2", capsys=capsys)["plans"][0]
    assert some["possible"]
    assert some["hours"] <= 2
    fewer_hours = 10_000 / (some["gpus"] - 1) * 16 * PER_IMAGE_S / 3600
    assert fewer_hours > 2 - 0.1
    assert some["cost"] == pytest.approx(some["hours"] * some["gpus"] * 6.88)
    assert some["cost"] > alone["cost"]


def test_a_deadline_that_cannot_be_kept_is_said(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan("--run", run, *JOB, "--gpu", "h100", "--deadline-hours", "0.05", capsys=capsys)
    assert not found["plans"][0]["possible"]
    assert "cannot be kept" in found["text"]
    assert "(late)" in found["text"]


def test_whole_instances_are_paid_for(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan("--run", run, *JOB, "--gpu", "h200", "--speed-ratio", "1", "--budgets", "192", capsys=capsys)
    only = found["plans"][0]
    assert (only["instances"], only["gpus"]) == (1, 8)
    assert only["cost"] == pytest.approx(only["hours"] * 64)


def test_another_device_is_as_fast_as_given_and_said_so(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--run", run, *JOB, "--gpu", "h100", "l40s", "--budgets", "192", "--speed-ratio", "0.25"]
    found = plan(*arguments, capsys=capsys)
    other, same = one(found, gpu="l40s"), one(found, gpu="h100")
    assert (other["speed"], same["speed"]) == (0.25, 1.0)
    device_s = PER_IMAGE_S - made.HOST_PER_IMAGE  # the host's work is as fast as ever
    assert other["device_s_per_image"] == pytest.approx(device_s * 4 + made.HOST_PER_IMAGE, rel=1e-3)
    assert any("l40s is taken as 0.25 times" in warning for warning in other["warnings"])
    assert not any("l40s" in warning for warning in same["warnings"])
    assert "l40s is taken as 0.25 times" in found["text"]


def test_without_a_device_the_measured_one_is_planned_with(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [item["gpu"] for item in plan("--run", run, *JOB, capsys=capsys)["plans"]] == ["h100"]


def test_too_few_cores_make_the_device_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = [values | {"decode_cpu_s": values["images"] * 3.0} for values in made.rows()]
    run = made.write_run(tmp_path / "slow", table)
    found = plan("--run", run, *JOB, "--gpu", "l40s", "h200", "--speed-ratio", "1", capsys=capsys)
    small = one(found, gpu="l40s")
    assert any("the GPU waits" in warning for warning in small["warnings"])
    assert small["device_s_per_image"] == pytest.approx(3.0 / 3)  # of 4 cores, one is the actor's
    assert one(found, gpu="h200")["cpu_cores_per_gpu"] == pytest.approx(1 + 3.0 / PER_IMAGE_S, rel=0.01)
    assert "the GPU waits" in found["text"]


def test_a_budget_that_no_run_had_is_fitted_and_one_outside_said_so(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpruned = made.write_run(tmp_path / "all", made.rows(tokens=576), rule="none")
    arguments = ["--run", run, unpruned, *JOB, "--gpu", "h100", "--budgets"]
    found = plan(*arguments, "192", "384", "96", "all", capsys=capsys)
    by_tokens = {item["setting"]["tokens"]: item for item in found["plans"]}
    assert {tokens: (item["basis"], item["extrapolated"]) for tokens, item in by_tokens.items()} == {
        192: ("measured", False),
        384: ("fitted", False),
        96: ("fitted", True),
        576: ("measured", False),
    }
    more_s = 3 * 0.192 * made.PER_KILOTOKEN
    assert by_tokens[384]["device_s_per_image"] == pytest.approx(PER_IMAGE_S + more_s, rel=1e-3)
    assert by_tokens[96]["device_s_per_image"] == pytest.approx(PER_IMAGE_S - more_s / 2, rel=1e-3)
    assert by_tokens[96]["quality"] == []
    assert "extrapolated: 96 tokens, while the runs had 192 to 576" in found["text"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--phrases-per-image", "9"], "extrapolated: 9 phrases an image, while the runs had 2.5 to 3.88"),
        (["--megapixels-per-image", "12"], "extrapolated: 12 megapixels an image"),
    ],
)
def test_what_lies_outside_the_measured_range_is_said(
    flags: Any, words: str, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = plan("--run", run, *JOB, "--gpu", "h100", *flags, capsys=capsys)
    assert words in found["text"]
    assert "measured, extrapolated" in found["text"]
    assert all(item["extrapolated"] for item in found["plans"])
    assert all(any(words in warning for warning in item["warnings"]) for item in found["plans"])


def test_ground_truth_counts_as_quality(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = {"phrases": 72, "pruned": {"giou": 0.71, "ciou": 0.7}, "unpruned": {"giou": 0.77, "ciou": 0.75}}
    table = made.compared(made.rows(), iou=0.9)
    run = made.write_run(tmp_path / "r", table, baseline={"truth": truth})
    found = plan("--run", run, *JOB, "--gpu", "h100", capsys=capsys)
    values = [{item["kind"]: item["value"] for item in each["quality"]} for each in found["plans"]]
    assert values == [{"agreement": pytest.approx(0.9), "gIoU": 0.71}]


def edited(path: Path, old: str, new: str) -> str:
    assert old in made.PRICES
    path.write_text(made.PRICES.replace(old, new))
    return str(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "0"], "--images is 0"),
        (["--images", "many"], "--images"),
        (["--phrases-per-image", "0"], "--phrases-per-image is 0"),
        (["--deadline-hours", "-1"], "--deadline-hours is -1"),
        (["--gpu", "abacus"], "--gpu abacus: not in the price table; it has h100"),
        (["--gpu", "cpu-2"], "the runs were measured on NVIDIA H100 80GB HBM3"),
        (["--budgets", "9000"], "the model has 576 visual tokens"),
        (["--budgets", "0"], "--budgets"),
        (["--layouts", "spiral"], "--layouts"),
        (["--layouts", "shared"], "--layouts shared: the runs had separate; give a run with it"),
        (["--budgets", "96"], "--budgets 96: the runs in layout separate all kept 192 tokens"),
        (["--prices", "{tmp}/none.yaml"], "--prices"),
        (["--prices", "{bad}"], "gpus.h100.on_demand: Input should be a valid number"),
        (["--prices", "{unsourced}"], "gpus.h100.sources: hearsay is not among the sources"),
        (["--run", "{tmp}/none"], "holds no finished run"),
        (["--run", "{run}", "{unfinished}"], "state is crashed"),
        (["--run", "{run}", "{older}"], "lacks prompts"),
        (["--run", "{run}", "{strange}"], "run.json is damaged: config.model: "),
        (["--run", "{run}", "{empty}"], "run.json is damaged: config.source: Field required"),
        (["--json", "{tmp}/none/plan.json"], "--json"),
        (["--report", "{tmp}/plan.html"], "--report: has nothing to show without --accepted"),
        (["--accepted", "{tmp}/none"], "there is no certificate.json; `review.py accept` writes it"),
        (["--run", "{run}", "{other}"], "device is cpu, but NVIDIA H100 80GB HBM3"),
        (["--input", "x.parquet"], "--input: no such flag"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(
    flags: Any, message: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "tmp": tmp_path,
        "run": run,
        "bad": edited(tmp_path / "bad.yaml", "on_demand: 6.88", "on_demand: cheap"),
        "unsourced": edited(tmp_path / "unsourced.yaml", "sources: [market]", "sources: [hearsay]"),
        "unfinished": made.write_run(tmp_path / "unfinished", made.rows(2), state="crashed"),
        "strange": rewritten(made.write_run(tmp_path / "strange", made.rows(2)), "separate", "spiral"),
        "empty": rewritten(made.write_run(tmp_path / "empty", made.rows(2)), '"source"', '"sauce"'),
        "older": older(tmp_path / "older"),
        "other": made.write_run(tmp_path / "other", [values | {"device": "cpu"} for values in made.rows(2)]),
    }
    given = [flag.format(**places) for flag in flags]
    assert main(["--run", run, *JOB, *given]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


def older(root: Path) -> str:
    """A run whose table has fewer columns."""
    import pyarrow.parquet as pq

    path = Path(made.write_run(root, made.rows(2)), "throughput.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["prompts"]), path)
    return str(root)


def test_the_worked_example_is_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("litelvlm.pipeline.planner.prices.DEFAULT_PRICES", ROOT / "pipeline/planner/prices.yaml")
    monkeypatch.chdir(ROOT)
    blocks = re.findall(
        r"```console\n\$ python jobs/plan.py ([^\n]+)\n(.*?)\n```", Path("docs/cost.md").read_text(), re.S
    )
    assert len(blocks) >= 3
    for command, expected in blocks:
        main(shlex.split(command.replace("docs/images/", f"{tmp_path}/")))
        captured = capsys.readouterr()
        assert (captured.out + captured.err).rstrip("\n") == expected
