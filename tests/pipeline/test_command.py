"""How jobs end: exit codes, and one line without secrets."""

import signal
from typing import Any

import pytest

from litelvlm.pipeline.command import JobParser, run_job
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import (
    MISTAKES,
    CredentialsError,
    DataError,
    Interrupted,
    RunError,
    StorageError,
    UsageError,
)


def _failing(error: Any) -> Any:
    def work(secrets: Any) -> None:
        secrets.of({"secret": "hunter22-secret"})
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("--input: none"), 2, "error: --input: none"),
        (StorageError("gone"), 1, "error: storage: gone. What was committed is kept; run again to resume"),
        (CredentialsError("expired"), 1, "error: storage: expired. What was committed is kept"),
        (DataError("x is damaged; remove y"), 1, "error: output: x is damaged; remove y"),
        (KeyboardInterrupt(), 130, "interrupted; run again to resume"),
        (Interrupted(signal.SIGTERM), 143, "terminated; run again to resume"),
        (RunError("node n: no room"), 1, "error: node n: no room; run again to resume"),
        (ValueError("odd"), 1, "error: crashed: ValueError: odd; run again to resume"),
    ],
)
def test_a_job_that_resumes(capsys: pytest.CaptureFixture[str], error: Any, code: int, line: str) -> None:
    assert run_job(_failing(error), resumes=True) == code
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1] == line
    assert len(printed) == 1 or "crashed" in line  # a traceback for what nobody foresaw


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("odd"), 2, "error: odd"),
        (StorageError("gone"), 1, "error: storage: gone"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_job_that_is_over_at_once(capsys: pytest.CaptureFixture[str], error: Any, code: int, line: str) -> None:
    assert run_job(_failing(error), mistakes=MISTAKES) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_secrets_are_in_no_line_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (UsageError, StorageError, DataError, RuntimeError):
        run_job(_failing(error("cannot log in with hunter22-secret at s3://key:word@host/x?token=abc")))
    printed = capsys.readouterr().err
    assert printed.count("cannot log in") >= 4
    assert not any(secret in printed for secret in ("hunter22", "word@", "token=abc"))


def test_what_works_returns_its_code_and_flags_that_do_not_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(lambda _: 3) == 3
    parser = JobParser(prog="job").add_settings(RunConfig)
    assert run_job(lambda _: len(vars(parser.parse_args(["--limit"])))) == 2
    assert capsys.readouterr().err == "error: argument --limit: expected one argument\n"
