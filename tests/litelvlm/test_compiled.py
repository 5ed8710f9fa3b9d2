"""What is compiled runs all the same where it cannot be, and is compiled once for sizes that vary."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from litelvlm.compiled import Compiled, no_fallback, varying

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def doubled(values: Tensor, more: int = 0) -> Tensor:
    return 2 * values + more


def broken(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no compiler\non this machine")


def test_a_size_that_varies_is_compiled_once_and_one_that_does_not_each_time() -> None:
    function = Compiled(doubled, "this", backend="eager")
    for count in (4, 7, 2, 900):
        torch.testing.assert_close(function(varying(torch.ones(count, 3))), torch.full((count, 3), 2.0))
    assert counters["stats"]["unique_graphs"] == 1
    for count in (4, 7):
        function(torch.ones(count, 5))
    assert counters["stats"]["unique_graphs"] == 3


def test_a_compiler_that_is_missing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    function = Compiled(doubled, "this", backend=broken)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert function(torch.ones(2)).tolist() == [2, 2]
    ours = [record.getMessage() for record in caplog.records if record.name == "litelvlm.compiled"]
    assert len(ours) == 1
    assert ours[0].startswith("this runs without torch.compile: BackendCompilerFailed: ")
    assert not function.is_compiled


def test_where_there_is_no_fallback_it_raises_and_stays_compiled() -> None:
    function = Compiled(doubled, "this", backend=broken)
    with no_fallback(), pytest.raises(Exception, match="no compiler"):
        function(torch.ones(2))
    assert function.is_compiled
    assert function(torch.ones(2)).tolist() == [2, 2]


def test_more_variants_than_pytorch_allows_by_itself() -> None:
    function = Compiled(doubled, "this", backend="eager")
    for more in range(2 * torch._dynamo.config.recompile_limit):
        assert function(torch.ones(more + 1, 3), more=more)[0, 0] == 2 + more
    assert function.is_compiled
