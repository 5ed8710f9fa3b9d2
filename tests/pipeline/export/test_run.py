"""An export as a whole: parts beside each other, once, and nothing of anybody else's is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.errors import DataError, UsageError
from litelvlm.pipeline.export.config import FORMATS, ExportConfig
from litelvlm.pipeline.export.run import export
from litelvlm.pipeline.output import coco
from tests.pipeline.export.masked_runs import check_images, masked_run, num_found


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of several COCO parts."""
    with pytest.MonkeyPatch.context() as patch:
        layout = coco.CocoLayout.__init__
        patch.setattr(coco.CocoLayout, "__init__", lambda self, most=0, head=None: layout(self, 1_200, head))
        run = masked_run(tmp_path_factory.mktemp("parts"))
    assert len(list((run / "annotations").glob("*.json"))) > 2
    return run


@pytest.mark.parametrize("to", FORMATS)
def test_parts_are_written_beside_each_other(in_parts: Path, tmp_path: Path, local_ray: None, to: str) -> None:
    lines: list[str] = []
    config = ExportConfig(run=str(in_parts), to=to, output=str(tmp_path / "out"), images=True)
    counts = export(config, lines.append)
    assert (counts["images"], counts["objects"]) == (4, num_found(in_parts))
    if to == "datumaro":
        assert len(list((tmp_path / "out/images").rglob("*.png"))) == 4
    elif to == "cvat":
        assert len(list((tmp_path / "out").glob("*/images/dir.d/*.png"))) == 4
    elif to != "hf-datasets":
        check_images(tmp_path / "out" / ("JPEGImages" if to == "voc" else "images"))
    before = bytes_of(tmp_path / "out")
    assert export(config, lines.append) == counts
    assert lines[-1] == f"{tmp_path}/out is complete; nothing to do"
    assert bytes_of(tmp_path / "out") == before
    (tmp_path / "out/_SUCCESS").unlink()  # killed before the end
    assert export(config, lines.append) == counts
    assert bytes_of(tmp_path / "out") == before


def test_masks_of_low_scores_are_left_out(run: Path, tmp_path: Path) -> None:
    scores = sorted(
        one["score"] for one in json.loads((run / "annotations/part-00000.json").read_text())["annotations"]
    )
    config = ExportConfig(run=str(run), to="datumaro", output=str(tmp_path), min_score=scores[-1])
    assert export(config, lambda line: None)["objects"] == 3


def test_a_directory_with_something_else_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    settings: dict[str, Any] = {"run": str(run), "to": "voc", "output": str(tmp_path)}
    with pytest.raises(UsageError, match=r"holds something else, such as mine\.txt; choose another directory"):
        export(ExportConfig(**settings), print)
    (tmp_path / "mine.txt").unlink()
    export(ExportConfig(**settings), lambda line: None)
    with pytest.raises(UsageError, match="holds another export; choose another directory"):
        export(ExportConfig(**settings | {"to": "datumaro"}), print)
    with pytest.raises(UsageError, match="holds something else, such as "):
        export(ExportConfig(**settings | {"output": str(run)}), print)


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished run"):
        export(ExportConfig(run=str(tmp_path / "gone"), to="voc", output=str(tmp_path / "out")), print)
    assert not (tmp_path / "out").exists()


def test_damage_is_told_and_the_export_does_not_count(tmp_path: Path) -> None:
    run = masked_run(tmp_path)
    path = run / "annotations/part-00000.json"
    path.write_text(path.read_text().replace('"counts":"', '"counts":"0'))
    with pytest.raises(DataError, match="is damaged"):
        export(ExportConfig(run=str(run), to="voc", output=str(tmp_path / "voc")), print)
    assert not (tmp_path / "voc/_SUCCESS").exists()
