"""Crafted and found inputs, one file each, with the outcome that each must have."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.data  # registers types that unpickle what a file holds, as in every worker

from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.weight_files import iter_shapes, iter_tensors
from tests.fuzz.attempt import attempt
from tests.fuzz.harness import check_outcome, run_file

CORPUS = Path(__file__).parent / "corpus"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*"),
    pytest.mark.filterwarnings(r"ignore::UserWarning:torch\..*"),
]


def test_every_file_has_an_expectation() -> None:
    files = {str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*")}
    assert files == {f"{kind}/{name}" for kind, entries in EXPECTED.items() for name in entries}
    assert ray.data.__name__ == "ray.data"


@pytest.mark.parametrize("name", EXPECTED["images"])
def test_images(name: Any) -> None:
    """A size, or the code of the reason."""
    started = time.process_time()
    decoded, error = attempt(ImageError, decode_image, (CORPUS / "images" / name).read_bytes())
    found = error.code if error else list(decoded.size_hw)
    assert found == EXPECTED["images"][name]
    assert time.process_time() - started < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED["tables"])
def test_tables(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the file is refused, or each record as its row, image id, file name, status and beginning of its reason."""
    monkeypatch.chdir(tmp_path)
    expected = EXPECTED["tables"][name]
    (tmp_path / "root").mkdir()
    path, root = CORPUS / "tables" / name, str(tmp_path / "root")
    outcome, error = attempt(ValueError, run_file, path, tmp_path, image_root=root)
    assert not (tmp_path / "pwned").exists()
    if error is not None:
        assert expected in str(error)
        return
    check_outcome(outcome)
    found = [[record[name] for name in ("source_row", "image_id", "file_name", "status")] for record in outcome.records]
    assert found == [entry[:4] for entry in expected]
    for record, (*_, reason) in zip(outcome.records, expected, strict=True):
        assert (record["error"] or "").startswith(reason)


@pytest.mark.parametrize("name", EXPECTED["weights"])
def test_weights(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and shapes, or why the file is refused."""
    monkeypatch.chdir(tmp_path)
    path, expected = CORPUS / "weights" / name, EXPECTED["weights"][name]
    for read in (iter_shapes, iter_tensors):
        found, error = attempt(ValueError, lambda read=read: dict(read([path])))
        if error is None:
            shapes = found if read is iter_shapes else {key: np.shape(value) for key, value in found.items()}
            assert {key: list(shape) for key, shape in shapes.items()} == expected
        else:
            assert isinstance(expected, str)
            assert expected in str(error)
    assert not (tmp_path / "pwned").exists()
