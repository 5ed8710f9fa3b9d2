"""The command on drawn scenes with the shipped checkpoint; its mistakes."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.demo.truth import main as write_scenes
from litelvlm.jobs.evaluate import main, read_flags


@pytest.mark.usefixtures("local_ray")
def test_a_sweep_of_the_shipped_checkpoint(tmp_path: Path) -> None:
    table, output = tmp_path / "scenes.parquet", tmp_path / "out"
    assert write_scenes(["--scenes", "6", "--output", str(table)]) == 0
    flags = ["--input", str(table), "--output", str(output), "--num-cpus", "4", "--dataset", "drawn scenes"]
    sweep = ["--rules", "none,paper,context", "--budgets", "48,144", "--orders", "auto,raster", "--example-images", "1"]
    assert main([*flags, *sweep, "--layout", "rounds", "--bootstrap-samples", "20"]) == 0
    rows = pq.read_table(output / "results.parquet").to_pylist()
    whole = {(row["rule"], row["num_retain_tokens"], row["order"]): row for row in rows if row["slice_by"] == "all"}
    assert len(whole) == 1 + 2 * 2 * 2
    unpruned = whole["none", 144, "auto"]
    assert unpruned["ciou"] > 0.5
    assert whole["paper", 144, "raster"]["ciou"] == pytest.approx(unpruned["ciou"], abs=1e-3)  # every token is kept
    assert whole["paper", 48, "auto"]["ciou"] < unpruned["ciou"] + 0.1
    assert all(row["encode_s"] > 0 and row["answer_s"] >= row["llm_s"] > 0 for row in whole.values())
    answers = pq.read_table(output / "answers.parquet").to_pylist()
    assert max(row["round"] for row in answers) >= 2
    assert {row["kind"] for row in answers} <= {"attribute", "size", "relation", "location"}
    page = (output / "evaluation.html").read_text()
    assert page.count("<img src=") == 3  # the only example under three rules
    assert "every: every expression of an image in one conversation" in page


def test_flags_become_a_configuration() -> None:
    flags = ["--input", "a.parquet", "--output", "out", "--rules", "paper,none", "--budgets", "8,4", "--seeds", "1,2"]
    config = read_flags([*flags, "--no-boundary"])
    assert (config.sweep.rules, config.sweep.budgets, config.sweep.seeds) == (("paper", "none"), (8, 4), (1, 2))
    assert not config.sweep.boundary
    assert (config.dataset, config.protocol.name, config.run.source.mask_column) == ("a", "every", "masks")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "--input is missing"),
        (["--input", "x.parquet", "--output", "o", "--rules", "magic"], "magic"),
        (["--input", "x.parquet", "--output", "o", "--budgets", "many"], "--budgets"),
        (
            ["--input", "x.parquet", "--output", "o", "--budgets", "1.5"],
            "--budgets is 1.5; it must be a whole number",
        ),
        (["--input", "x.parquet", "--output", "o", "--seeds", "9" * 20], "2**63"),
        (["--input", "x.parquet", "--output", "o", "--protocol", "mine"], "--protocol"),
        (["--input", "{tmp}/none.parquet", "--output", "{tmp}/o"], "none.parquet"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Any, reason: str
) -> None:
    assert main([flag.replace("{tmp}", str(tmp_path)) for flag in flags]) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_a_table_without_masks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "scenes.parquet"
    write_scenes(["--scenes", "1", "--output", str(table)])
    flags = ["--input", str(table), "--output", str(tmp_path / "o"), "--mask-column", "truth"]
    assert main(flags) == 2
    assert "--mask-column truth: no such column" in capsys.readouterr().err


def test_a_layer_that_the_model_does_not_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "scenes.parquet"
    write_scenes(["--scenes", "1", "--output", str(table)])
    assert main(["--input", str(table), "--output", str(tmp_path / "o"), "--fastv-layer", "6"]) == 2
    assert "--fastv-layer is 6; this language model allows 5 at most" in capsys.readouterr().err
