"""Everything that a request is refused with: a status of HTTP, a stable code, words, and the field at fault."""

from __future__ import annotations

import math


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        code: stable, for programs.
        field: of the request, such as `phrases.1`; None where it is none's fault.
        retry_after_s: seconds after which to come back.
    """

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.field, self.retry_after_s = status, code, field, retry_after_s

    def body(self) -> dict[str, object]:
        """As JSON."""
        return {"error": {"code": self.code, "message": str(self), "field": self.field}}

    def headers(self) -> dict[str, str]:
        """Beside it."""
        found = {"WWW-Authenticate": 'Bearer realm="litelvlm", Basic realm="litelvlm"'} if self.status == 401 else {}
        if self.retry_after_s is not None:
            found["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return found
