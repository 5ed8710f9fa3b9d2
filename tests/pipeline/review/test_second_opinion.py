"""What another run says, from the table of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.review.second_opinion import ComparedRuns, SecondOpinion
from litelvlm.pipeline.schemas import COMPARISON_NAME


def write_comparison(folder: Path, a: str, b: str, answers: dict[str, tuple[float | None, bool | None]]) -> str:
    """What `SecondOpinion` reads of a comparison: IoU and agreement by record."""
    iou, agrees = ([one[at] for one in answers.values()] for at in (0, 1))
    table = pa.table(
        {"record": list(answers), "iou": pa.array(iou, pa.float64()), "agrees": pa.array(agrees, pa.bool_())}
    )
    folder.mkdir(exist_ok=True)
    about = ComparedRuns(a=a, b=b, agree_iou=0.8).metadata
    pq.write_table(table.replace_schema_metadata(about), folder / COMPARISON_NAME, row_group_size=2)
    return str(folder)


def test_it_is_that_of_either_run(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, "f1", "f2", {"x": (0.25, False), "y": (0.9, True), "z": (None, None)})
    for run, other in (("f1", "f2"), ("f2", "f1")):
        found = SecondOpinion(path, {}, run)
        assert (found.other, found.agree_iou) == (other, 0.8)
        iou, disagrees = found.of(pa.chunked_array([["z", "x"], ["elsewhere", "y"]]))
        np.testing.assert_equal(iou, [np.nan, 0.25, np.nan, 0.9])
        assert disagrees.tolist() == [False, True, False, False]


def test_what_is_none_of_this_run_is_refused(tmp_path: Path) -> None:
    path = write_comparison(tmp_path / "other", "f1", "f2", {"x": (1.0, True)})
    with pytest.raises(ValueError, match="compares other runs, not this one"):
        SecondOpinion(path, {}, "f3")
    with pytest.raises(ValueError, match=r"there is no compare\.parquet"):
        SecondOpinion(str(tmp_path / "gone"), {}, "f1")
    for content in (b"PAR1", None):
        place = tmp_path / COMPARISON_NAME
        if content is None:
            pq.write_table(pa.table({"record": ["x"]}), place)
        else:
            place.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            SecondOpinion(str(tmp_path), {}, "f1")
