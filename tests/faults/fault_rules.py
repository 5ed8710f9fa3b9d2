"""Which requests to a store are to go wrong, and how."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs, unquote, urlsplit


class Fault(Enum):
    """What may be done to a request."""

    ERROR_500 = "500 internal error"
    SLOW_DOWN = "503 slow down"
    TOO_MANY = "429 too many requests"
    RESET = "connection reset in the middle of a body"
    STALL = "transfer that stalls"
    DROP = "connection closed without an answer"
    LOST_ANSWER = "answer lost after the store did it"
    STALE_LISTING = "listing that lags behind"
    EXPIRED_400 = "expired credentials (400)"
    EXPIRED_403 = "expired credentials (403)"
    DENIED = "access denied"
    NO_CONDITIONS_501 = "If-None-Match refused with 501"
    NO_CONDITIONS_400 = "If-None-Match refused with 400"
    IGNORED_CONDITION = "If-None-Match ignored"


PASSING = (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.RESET, Fault.STALL, Fault.DROP, Fault.LOST_ANSWER)

#: Status and code of the faults that are answers.
ANSWERS = {
    Fault.ERROR_500: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.TOO_MANY: (429, "TooManyRequests"),
    Fault.EXPIRED_400: (400, "ExpiredToken"),
    Fault.EXPIRED_403: (403, "ExpiredToken"),
    Fault.DENIED: (403, "AccessDenied"),
    Fault.NO_CONDITIONS_501: (501, "NotImplemented"),
    Fault.NO_CONDITIONS_400: (400, "InvalidArgument"),
}
_CONDITION_FAULTS = (Fault.NO_CONDITIONS_501, Fault.NO_CONDITIONS_400, Fault.IGNORED_CONDITION)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the rules see it. `path` is decoded, without its query, and begins with the bucket."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path).lstrip("/")

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def lists(self) -> bool:
        """Whether it asks for a listing."""
        return self.method == "GET" and "list-type" in self.query

    @property
    def access_key(self) -> str:
        """Whose credentials signed it."""
        found = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        return found.group(1) if found else ""


@dataclass(kw_only=True)
class Rule:
    """A fault for the requests that match: by `when`, by number among those that match (`first` to `last`, from 1),
    and, of these, a random share `probability`."""

    fault: Fault
    when: Callable[[Request], bool] = lambda request: True
    first: int = 1
    last: int | None = None
    probability: float = 1.0
    seen: int = field(default=0, init=False)

    def applies(self, request: Request, rng: random.Random) -> bool:
        if self.fault is Fault.STALE_LISTING and not request.lists:
            return False
        if self.fault in _CONDITION_FAULTS and "if-none-match" not in request.headers:
            return False
        if self.fault is Fault.LOST_ANSWER and request.method not in ("PUT", "POST", "DELETE"):
            return False
        if not self.when(request):
            return False
        self.seen += 1
        in_turn = self.first <= self.seen <= (self.last or self.seen)
        return in_turn and (self.probability >= 1 or rng.random() < self.probability)


def method_is(*methods: str) -> Callable[[Request], bool]:
    """Requests by method."""
    return lambda request: request.method in methods


def path_matches(pattern: str, *methods: str) -> Callable[[Request], bool]:
    """Requests whose path, bucket included, holds a match of a regular expression; by method as well where given."""
    return lambda request: bool(re.search(pattern, request.path)) and (not methods or request.method in methods)


def random_rules(probability: float, *faults: Fault) -> list[Rule]:
    """Faults at random for any request, one rule each, `probability` each."""
    return [Rule(fault=fault, probability=probability) for fault in faults or PASSING]
