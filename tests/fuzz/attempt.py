"""Either a result or the one kind of error that is expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E", bound=Exception)


def attempt(expected: type[E], call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, E | None]:
    """What the call returns, or the expected error that it raises. Any other error is a finding."""
    try:
        return call(*arguments, **options), None
    except expected as error:
        return None, error
