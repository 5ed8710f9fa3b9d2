"""Contracts: what the JSON files of a run say, as frozen dataclasses with a version that every reader checks."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import FORMAT_VERSION

_VERSION = "version"
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}  # making one takes milliseconds


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Base of frozen dataclasses that are written as JSON objects. Their fields are the keys."""

    indent: ClassVar[int | None] = None  # spaces, for files that people read

    def to_json(self) -> bytes:
        """The object with the version of this program, keys sorted."""
        values = {_VERSION: FORMAT_VERSION} | dataclasses.asdict(self)
        return (json.dumps(values, indent=self.indent, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Self:
        """Read what `to_json` wrote. `name` is the file's, for messages.

        Raises:
            DataError: it is no such object, or another version of this program wrote it.
        """
        try:
            values = json.loads(data)
        except ValueError as error:
            raise DataError(f"{name} is damaged: it is no JSON") from error
        if not isinstance(values, dict):
            raise DataError(f"{name} is damaged: it is no JSON object")
        check_version(values.pop(_VERSION, None), name)
        try:
            adapter = _ADAPTERS.get(cls) or _ADAPTERS.setdefault(cls, TypeAdapter(cls))
            return adapter.validate_python(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"{name} is damaged: {place}: {first['msg']}") from error


def check_version(found: object, name: str) -> None:
    """Raises DataError unless a file says the version that this program writes."""
    if found != FORMAT_VERSION:
        said = "no version" if found is None else f"version {found!r}"
        raise DataError(f"{name} says {said}, but this program reads version {FORMAT_VERSION}")
