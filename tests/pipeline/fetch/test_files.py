"""Local files are read below their roots and within their limits; everything else ends as a reason."""

import os
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.fetch.policy import UriPolicy
from tests.pipeline.fetch.fetching import BODY, failure_code, fetcher_for


@pytest.fixture
def tree(tmp_path: Path) -> Any:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a.jpg").write_bytes(BODY)
    (tmp_path / "root" / "empty.jpg").write_bytes(b"")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "outside.jpg").write_bytes(b"outside")
    (tmp_path / "root" / "inner.jpg").symlink_to(tmp_path / "root" / "sub" / "a.jpg")
    (tmp_path / "root" / "out.jpg").symlink_to(tmp_path / "root2" / "outside.jpg")
    (tmp_path / "root" / "outdir").symlink_to(tmp_path / "root2")
    (tmp_path / "root" / "loop.jpg").symlink_to(tmp_path / "root" / "loop.jpg")
    os.mkfifo(tmp_path / "root" / "pipe.jpg")
    return tmp_path


def test_files_below_the_root(tree: Any) -> None:
    fetcher = fetcher_for(UriPolicy.for_input("t.parquet", image_root=str(tree / "root")))
    assert fetcher.fetch("sub/a.jpg") == BODY
    assert fetcher.fetch(str(tree / "root" / "sub" / "a.jpg")) == BODY
    assert fetcher.fetch((tree / "root" / "sub" / "a.jpg").as_uri()) == BODY
    assert fetcher.fetch("inner.jpg") == BODY
    assert fetcher.fetch("empty.jpg") == b""


def test_files_outside_the_root_and_things_that_are_no_files(tree: Any) -> None:
    fetcher = fetcher_for(UriPolicy.for_input("t.parquet", image_root=str(tree / "root")))
    for uri in ("out.jpg", "outdir/outside.jpg", str(tree / "root2" / "outside.jpg"), "/etc/passwd"):
        assert failure_code(fetcher, uri) == "refused"
    assert failure_code(fetcher, "pipe.jpg") == "not_a_file"
    assert failure_code(fetcher, "sub") == "not_a_file"
    assert failure_code(fetcher, "nope.jpg") == "not_found"
    assert failure_code(fetcher, "sub/a.jpg/b.jpg") == "not_found"
    assert failure_code(fetcher, "loop.jpg") == "unreadable"
    assert failure_code(fetcher, "x" * 300) == "unreadable"


def test_endless_devices_and_limits(tree: Any) -> None:
    anywhere = UriPolicy.for_input("t.parquet")
    assert failure_code(fetcher_for(anywhere), "/dev/zero") == "not_a_file"
    path = str(tree / "root" / "sub" / "a.jpg")
    fits = UriPolicy(manifest_is_local=True, max_bytes=len(BODY))
    assert fetcher_for(fits).fetch(path) == BODY
    assert (
        failure_code(fetcher_for(UriPolicy(manifest_is_local=True, max_bytes=len(BODY) - 1)), path) == "too_many_bytes"
    )


def test_an_allowed_directory_beside_the_root(tree: Any) -> None:
    policy = UriPolicy.for_input("t", image_root=str(tree / "root"), allowed_prefixes=(str(tree / "root2"),))
    assert fetcher_for(policy).fetch(str(tree / "root2" / "outside.jpg")) == b"outside"
