"""A calibration is two short runs of one sample."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.calibrate import calibrate
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from tests.pipeline.samples import run_config


def test_a_calibration_runs_the_sample_pruned_and_unpruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def annotate(config: Any, *, stream: Any) -> int:
        asked.append(config)
        return 0

    config = run_config("in.parquet", tmp_path / "out", rule="paper", num_retain_tokens=21)
    roots = calibrate(config, num_images=64, output=config.output, stream=io.StringIO(), annotate=annotate)
    assert roots == [f"{tmp_path}/out/pruned", f"{tmp_path}/out/unpruned"]
    assert [item.output for item in asked] == roots
    assert [(item.model.rule, item.model.num_retain_tokens) for item in asked] == [("paper", 21), ("none", None)]
    assert [item.baseline_images for item in asked] == [16, 0]
    assert {(item.source.limit, item.source.shard_images) for item in asked} == {(64, 8)}


@pytest.mark.parametrize(
    ("limit", "asked", "expected"), [(20, 64, (20, 2, 5)), (None, 8, (8, 1, 2)), (3, 64, (3, 1, 1))]
)
def test_a_sample_is_no_larger_than_the_run(
    tmp_path: Path, limit: int | None, asked: int, expected: tuple[int, int, int]
) -> None:
    configs: list[Any] = []

    def annotate(config: Any, *, stream: Any) -> int:
        configs.append(config)
        return EXIT_DONE

    config = run_config("in.parquet", tmp_path / "out", limit=limit)
    calibrate(config, num_images=asked, output=f"{config.output}/", stream=io.StringIO(), annotate=annotate)
    first = configs[0]
    assert (first.source.limit, first.source.shard_images, first.baseline_images) == expected
    assert first.output == f"{config.output}/pruned"
    assert all(one.overwrite for one in configs)


def test_too_few_images_to_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--calibrate-images is 7; it must be at least 8"):
        calibrate(run_config("in.parquet", tmp_path), num_images=7, output="x", stream=io.StringIO())


def test_too_many_failures_end_it_and_say_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"more records failed than --max-failure-rate allows; see x/pruned"):
        calibrate(
            run_config("in.parquet", tmp_path), num_images=8, output="x", stream=io.StringIO(),
            annotate=lambda config, *, stream: EXIT_FAILURE_RATE,
        )  # fmt: skip
