"""A function behind torch.compile, which runs as it is where compilation fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

Given = ParamSpec("Given")
Found = TypeVar("Found")

_RECOMPILE_LIMIT = 64  # variants of one function in one process; PyTorch's own limit is 8
_FAILURES = (TorchDynamoException, FailOnRecompileLimitHit)
_MOST_SHOWN = 160

_falls_back = ContextVar("_falls_back", default=True)
_log = logging.getLogger(__name__)


class Compiled(Generic[Given, Found]):
    """A function that is compiled for the shapes that it is called with; those that `varying` marks may differ.

    Args:
        function: without side effects, so that it may be called again.
        what: it is part of, for the log.
        backend: of torch.compile.
    """

    def __init__(self, function: Callable[Given, Found], what: str, *, backend: Any = "inductor") -> None:
        self._plain, self._what = function, what
        compiled = torch.compile(function, fullgraph=True, dynamic=False, backend=backend)
        self._compiled: Callable[Given, Found] | None = compiled

    @property
    def is_compiled(self) -> bool:
        """False once compilation has failed."""
        return self._compiled is not None

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Found:
        """Of the function.

        Raises:
            torch.OutOfMemoryError: also while compiling: with smaller inputs it may succeed.
        """
        if self._compiled is not None:
            try:
                return self._within_limit(self._compiled, *args, **kwargs)
            except _FAILURES as error:
                cause = getattr(error, "inner_exception", None)
                if isinstance(cause, torch.OutOfMemoryError):
                    raise cause from error
                if not _falls_back.get():
                    raise
                reason = (str(error).strip().splitlines() or [""])[0][:_MOST_SHOWN]
                _log.warning("%s runs without torch.compile: %s: %s", self._what, type(error).__name__, reason)
                self._compiled = None
        return self._plain(*args, **kwargs)

    @staticmethod
    def _within_limit(compiled: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
        try:
            return compiled(*args, **kwargs)
        except FailOnRecompileLimitHit:  # to set the limit takes a millisecond, too long for every call
            with torch._dynamo.config.patch(recompile_limit=_RECOMPILE_LIMIT):
                return compiled(*args, **kwargs)


@contextmanager
def no_fallback() -> Iterator[None]:
    """What cannot be compiled raises meanwhile, in this thread."""
    before = _falls_back.set(False)
    try:
        yield
    finally:
        _falls_back.reset(before)


def varying(tensor: Tensor, dim: int = 0) -> Tensor:
    """The tensor, whose size along `dim` differs from call to call: nothing is compiled again for that, but for 1."""
    torch._dynamo.maybe_mark_dynamic(tensor, dim)
    return tensor
