"""From a table with true masks to the three files, on the shipped checkpoint."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from litelvlm.demo.truth import main as write_scenes
from litelvlm.evaluation.similarity.config import SimilarityConfig
from litelvlm.evaluation.similarity.records import RECORD_SCHEMA
from litelvlm.evaluation.similarity.run import measure_similarity
from litelvlm.pipeline.errors import UsageError
from tests.evaluation.datasets.refer_files import read_truth
from tests.evaluation.samples import write_rows


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six drawn scenes."""
    path = str(tmp_path_factory.mktemp("truth") / "scenes.parquet")
    assert write_scenes(["--scenes", "6", "--output", path]) == 0
    return path


def measure(source: str, output: Path, **changes: Any) -> tuple[int, str]:
    """The exit code and what was said."""
    settings = {"input": [source], "output": str(output), "device": "cpu", "bootstrap_samples": 50}
    stream = io.StringIO()
    code = measure_similarity(SimilarityConfig.from_flat(settings | changes), stream=stream)
    return code, stream.getvalue()


@pytest.mark.slow
def test_drawn_scenes_under_the_shipped_checkpoint(scenes: str, tmp_path: Path) -> None:
    code, said = measure(scenes, tmp_path / "out")
    assert code == 0
    rows = pq.read_table(tmp_path / "out" / "similarity.parquet", schema=RECORD_SCHEMA).to_pylist()
    summary = json.loads((tmp_path / "out" / "similarity.json").read_text())
    scored = [row for row in rows if row["status"] == "scored"]
    assert len(rows) == summary["records"] == sum(len(row["phrases"]) for row in read_truth(Path(scenes)))
    assert summary["scored"] == len(scored) > 0.8 * len(rows)
    assert summary["scores"]["product"]["auroc"] == pytest.approx(np.mean([row["product_auroc"] for row in scored]))
    assert summary["scores"]["product"]["auroc"] > 0.6  # these towers were taught what their patches show
    assert rows[0]["text"] == f"Can you segment the {rows[0]['phrase'].removeprefix('the ')} in this image?" or rows[0][
        "text"
    ].startswith("Can you segment the ")
    assert all(row["num_inside"] + row["num_outside"] == 144 for row in rows)
    assert "more similar" in said
    assert (tmp_path / "out" / "similarity.html").read_text().count("<img src=") > 20


@pytest.mark.slow
def test_batches_change_nothing(scenes: str, tmp_path: Path) -> None:
    columns = ["product_auroc", "phrase"]
    found = []
    for name, size in (("one", 1), ("four", 4)):
        assert measure(scenes, tmp_path / name, batch_images=size)[0] == 0
        found.append(pq.read_table(tmp_path / name / "similarity.parquet", columns=columns).to_pylist())
    assert [row["phrase"] for row in found[0]] == [row["phrase"] for row in found[1]]
    for one, other in zip(*found, strict=True):
        assert one["product_auroc"] == pytest.approx(other["product_auroc"], abs=0.01, nan_ok=True) or one == other


@pytest.mark.slow
def test_an_output_is_not_overwritten_unasked(scenes: str, tmp_path: Path) -> None:
    flags: dict[str, Any] = {"limit": 1, "examples": 0}
    assert measure(scenes, tmp_path, **flags)[0] == 0
    with pytest.raises(UsageError, match=r"holds similarity\.json; choose another, or --overwrite"):
        measure(scenes, tmp_path, **flags)
    assert measure(scenes, tmp_path, overwrite=True, **flags)[0] == 0


@pytest.mark.slow
def test_bad_records_fail_alone_and_many_fail_the_run(scenes: str, tmp_path: Path) -> None:
    rows = read_truth(Path(scenes))
    rows[1]["image"] = {"bytes": b"no image", "path": None}
    rows[2]["masks"] = [None] * len(rows[2]["phrases"])
    source = write_rows(tmp_path / "bad.parquet", rows)
    code, said = measure(source, tmp_path / "out", examples=0)
    assert code == 3
    assert "more than --max-failure-rate 0.05 allows" in said
    written = pq.read_table(tmp_path / "out" / "similarity.parquet").to_pylist()
    failed = [row for row in written if row["status"] == "failed"]
    assert len(failed) == len(rows[1]["phrases"]) + len(rows[2]["phrases"])
    assert failed[-1]["error"] == "there is no true mask"
    assert measure(source, tmp_path / "out", overwrite=True, examples=0, max_failure_rate=1)[0] == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input": ["{tmp}/none.parquet"]}, "none.parquet"),
        ({"mask_column": "truth"}, "truth"),
        ({"model": "{tmp}"}, r"no config\.json"),
        ({"clip": "{tmp}"}, r"clip: no config\.json"),
        ({"question": "Where?"}, r"\{phrase\}"),
    ],
)
def test_mistakes_are_found_before_the_output_is_touched(
    scenes: str, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    filled = {
        name: [one.format(tmp=tmp_path) for one in value]
        if isinstance(value, list)
        else value.replace("{tmp}", str(tmp_path))
        for name, value in changes.items()
    }
    with pytest.raises(ValueError, match=reason):
        measure(scenes, tmp_path / "out", **filled)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
