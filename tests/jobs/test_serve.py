"""`jobs/serve.py` refuses what does not fit before it starts Ray."""

from __future__ import annotations

import pytest

from litelvlm.jobs.serve import main
from litelvlm.pipeline.exit_codes import EXIT_USAGE
from litelvlm.pipeline.serving.config import TOKEN_VARIABLE


def test_an_open_address_without_a_token_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert main(["--host", "0.0.0.0"]) == EXIT_USAGE
    assert "--token-file" in capsys.readouterr().err


def test_a_checkpoint_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "/nowhere/at/all"]) == EXIT_USAGE
    assert "/nowhere/at/all" in capsys.readouterr().err
