"""Runs in a bucket are compared into the bucket, against a real S3 server process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litelvlm.jobs.compare import main
from litelvlm.jobs.review import main as review
from tests.object_store import SECRET_KEY, object_store


@pytest.mark.slow
def test_from_bucket_to_bucket(
    run_a: Path, run_b: Path, compared: tuple[object, Path, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with object_store() as store:
        fs = store.filesystem()
        fs.mkdir("bucket")
        for name, run in (("a", run_a), ("b", run_b)):
            fs.put(str(run), f"bucket/{name}", recursive=True)
        client = json.dumps(store.options["client_kwargs"]["endpoint_url"]).strip('"')
        options = ["--storage-options", f"key={store.access_key}", f"secret={SECRET_KEY}",
                   f"client_kwargs.endpoint_url={client}"]  # fmt: skip
        assert main(["s3://bucket/a", "s3://bucket/b", "--output", "s3://bucket/c", *options]) == 0
        queue = [
            "queue",
            "s3://bucket/a",
            "--compare",
            "s3://bucket/c",
            "--budget",
            "5",
            "--output",
            "s3://bucket/q.parquet",
        ]
        assert review([*queue, *options]) == 0
        fs.get("bucket/c", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy/compare.parquet").read_bytes() == (compared[1] / "compare.parquet").read_bytes()
    written = b"".join(path.read_bytes() for path in (tmp_path / "copy").iterdir())
    assert SECRET_KEY.encode() not in written
    assert SECRET_KEY not in capsys.readouterr().out
