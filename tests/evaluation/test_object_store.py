"""An evaluation from bucket to bucket, with images named by URI, against a real S3 server process."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.run import evaluate_dataset
from tests.evaluation.fakes import FakeEvaluation
from tests.evaluation.samples import evaluation_config, truth_row, write_rows
from tests.object_store import SECRET_KEY, object_store

MEASURED = ("encode_s", "answer_s", "llm_s")


@pytest.mark.usefixtures("local_ray")
def test_an_evaluation_from_bucket_to_bucket_equals_one_on_disk(tmp_path: Path) -> None:
    rows = [truth_row(number) for number in range(6)]
    on_disk = write_rows(tmp_path / "in.parquet", rows)
    with object_store() as store:
        fs = store.filesystem()
        fs.mkdir("bucket")
        for row in rows:
            name = f"bucket/images/{row['image_id']}.png"
            fs.pipe(name, row["image"]["bytes"])
            row["image"] = {"bytes": None, "path": f"{row['image_id']}.png"}
        fs.put(write_rows(tmp_path / "named.parquet", rows), "bucket/in.parquet")
        run = {"storage_options": store.options, "image_root": "s3://bucket/images"}
        config = evaluation_config("s3://bucket/in.parquet", "s3://bucket/out", run=run)
        assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
        fs.get("bucket/out", str(tmp_path / "copy"), recursive=True)
    config = evaluation_config(on_disk, tmp_path / "out")
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
    copy, local = (
        pq.read_table(tmp_path / name / "results.parquet").drop_columns(MEASURED) for name in ("copy", "out")
    )
    assert copy.equals(local)
    page = (tmp_path / "copy" / "evaluation.html").read_text()
    assert page.count("<img src=") == 2 * 3  # two examples under three rules, read from the bucket
    written = b"".join(path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert SECRET_KEY.encode() not in written
