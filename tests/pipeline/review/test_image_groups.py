"""Images come once, with all of their records, in the order in which they are first met."""

from __future__ import annotations

from pathlib import Path

from litelvlm.pipeline.review.image_groups import image_groups
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import read_records, row


def test_every_record_comes_once_and_scattered_images_together(records: RunRecords) -> None:
    groups = list(image_groups(records, ["record"]))
    names = [group[0]["file_name"] for group in groups]
    assert len(names) == len(set(names)) == 30
    wanted = [one["record"] for one in read_records(records.storage.root)]
    assert sorted(one["record"] for group in groups for one in group) == sorted(wanted)
    assert [len(group) for group in groups][:6] == [1, 2, 4, 1, 2, 3]


def test_images_of_one_name_are_told_apart_while_a_run_goes_on(tmp_path: Path) -> None:
    rows = [row(at, image_id=f"i{at}", image={"path": "same.png", "bytes": row(at)["image"]}) for at in range(3)]
    make_output(tmp_path, rows, finish=False)
    groups = list(image_groups(RunRecords(Storage(str(tmp_path / "out"))), ["record"]))
    assert len({group[0]["file_name"] for group in groups}) == 3
