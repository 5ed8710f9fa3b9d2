"""The one door of settings. A frozen dataclass below `Settings` declares each field's type, default, help and limits;
flags, YAML keys and what a constructor is given are derived from that, and coerced or refused by it alone."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar, NoReturn, Self, get_args, get_origin, get_type_hints

_PLAINER = {
    "Input should be": "it must be",
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text (in YAML, quote it)",
    ", unable to interpret input": "",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
}
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 200


@dataclass(frozen=True)
class Flag:
    """What a field says of itself beside its type and default.

    Attributes:
        help: what it is, in words.
        name: in YAML and as a flag, where it is not the field's.
        option: the flag, where it is not the name's.
        choices: all values there are.
        word: what means None, e.g. auto.
        unset: what the default means, where its value does not say it.
        metavar: what stands for the value in `--help`.
        repeat: several values follow the flag, which may be given again; others take several separated by commas.
        before: what YAML or a command line has, brought into the field's form. Raises ValueError for what is none.
        secret: the value is in no message.
        positional: stands on the command line without a flag.
        group: heading in `--help`, where it is not the section's.
    """

    help: str
    _: KW_ONLY
    name: str | None = None
    option: str | None = None
    choices: tuple[str, ...] = ()
    word: str | None = None
    unset: str | None = None
    metavar: str | None = None
    repeat: bool = False
    before: Callable[[Any], Any] | None = None
    secret: bool = False
    positional: bool = False
    group: str | None = None


@dataclass(frozen=True)
class Part:
    """How one class of settings is part of another: without some keys, with other defaults of some."""

    without: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One declared field."""

    field: str
    hint: Any
    flag: Flag
    default: Any
    group: str

    @property
    def key(self) -> str:
        """Its name in YAML, and with dashes that of the flag."""
        return self.flag.name or self.field

    @property
    def option(self) -> str:
        """The flag."""
        return self.key if self.flag.positional else self.flag.option or f"--{self.key.replace('_', '-')}"

    @property
    def kinds(self) -> set[Any]:
        """The plain types that its type is made of."""
        return set(_leaves(self.hint))

    @property
    def is_required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def default_in_words(self) -> str:
        """For `--help`."""
        if self.flag.unset or self.is_required:
            return self.flag.unset or "required"
        if self.default is None:
            return self.flag.word or "none"
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default)) or "none"
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)

    def fit(self, value: Any) -> Any:
        """The value as the field's type. Raises ValueError naming the setting, the value and what is allowed."""
        from pydantic import ValidationError

        if self.is_required and value in ("", (), []):
            raise self.missing()
        try:
            fitting = _adapter(self.hint).validate_python(self._read(value))
        except ValidationError as error:
            self._refuse(value, error.errors(include_url=False, include_input=False)[0]["msg"])
        except (ValueError, RecursionError) as error:
            self._refuse(value, str(error))
        for one in fitting if isinstance(fitting, tuple) else (fitting,):
            if self.flag.choices and one != self.default and one not in self.flag.choices:
                self._refuse(one, f"choose from {', '.join(self.flag.choices)}{guess(one, self.flag.choices)}")
        return fitting

    def missing(self) -> ValueError:
        """What to raise where it has to be given and is not."""
        return ValueError(f"{self.option} is missing: {self.flag.help}")

    def _read(self, value: Any) -> Any:
        if self.flag.before:
            value = self.flag.before(value)
        if tuple in self.kinds and isinstance(value, str) and not self.flag.repeat:
            value = [part.strip() for part in value.split(",") if part.strip()]
        if tuple in self.kinds and not isinstance(value, list | tuple):
            value = [value]
        return [self._scalar(one) for one in value] if isinstance(value, list | tuple) else self._scalar(value)

    def _scalar(self, value: Any) -> Any:
        if value is not None and value == self.flag.word:
            return None
        if not self.kinds & {int, float}:
            return value
        return str(value) if isinstance(value, bool) else _number(value)

    def _refuse(self, value: Any, reason: str) -> NoReturn:
        words = functools.reduce(lambda text, pair: text.replace(*pair), _PLAINER.items(), reason)
        if self.flag.secret:
            raise ValueError(f"{self.option}: {words}")
        is_number = self.kinds & {int, float} and isinstance(value, str) and value
        raise ValueError(f"{self.option} is {value[:200] if is_number else _REPR.repr(value)}; {words}")


class Settings:
    """Base of frozen dataclasses of settings. However one is made, its fields have their types and limits."""

    section: ClassVar[str] = "options"

    def __post_init__(self) -> None:
        for one in declared(type(self)):
            object.__setattr__(self, one.field, one.fit(getattr(self, one.field)))

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> Self:
        """Build from one flat mapping, as flags and YAML files have it. None means "not given".

        Raises:
            ValueError: an unknown key, or a value that does not fit, naming it.
        """
        known, given = {one.key: one for one in flat(cls)}, {}
        check_known((key for key, value in values.items() if value is not None), known)
        for key, value in values.items():
            if value is not None:
                given[key] = known[key].fit(value)
        return cls._taken(given, Part())

    @classmethod
    def _taken(cls, given: dict[str, Any], part: Part) -> Self:
        offered = dict(part.defaults) | {key: value for key, value in given.items() if key not in part.without}
        arguments: dict[str, Any] = {name: kind._taken(offered, inner) for name, kind, inner in _parts(cls)}
        for one in declared(cls):
            if one.key in offered:
                arguments[one.field] = offered[one.key]
            elif one.is_required:
                raise one.missing()
        return cls(**arguments)


def declared(cls: type[Settings]) -> tuple[Declared, ...]:
    """The settings that a class declares itself, in its order."""
    found = []
    for item, hint in _hints(cls):
        flags = [one for one in get_args(hint) if isinstance(one, Flag)] if get_origin(hint) is Annotated else []
        if flags:
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            group = flags[0].group or cls.section
            found.append(Declared(field=item.name, hint=hint, flag=flags[0], default=default, group=group))
    return tuple(found)


def flat(cls: type[Settings]) -> list[Declared]:
    """The settings of a class and of all its parts, those of parts first."""
    found = []
    for _, kind, part in _parts(cls):
        own = [one for one in flat(kind) if one.key not in part.without]
        found += [dataclasses.replace(one, default=dict(part.defaults).get(one.key, one.default)) for one in own]
    return [*found, *declared(cls)]


def check_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError naming the first name that is not known, and the nearest that is."""
    among = sorted(known)
    words = ", ".join(among)
    for name in names:
        if name not in among:
            raise ValueError(f"unknown setting {name}{guess(name, among) or f'; known ones: {words}'}")


def guess(word: object, known: Iterable[str]) -> str:
    """`; did you mean …?` with the nearest known word, or nothing."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _hints(cls: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = _type_hints(cls)
    for item in dataclasses.fields(cls):
        yield item, hints[item.name]


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _parts(cls: type[Settings]) -> Iterator[tuple[str, type[Settings], Part]]:
    for item, hint in _hints(cls):
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else [hint]
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield item.name, kind, next((one for one in notes if isinstance(one, Part)), Part())


def _leaves(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from _leaves(get_args(hint)[0])
    elif get_args(hint):
        yield get_origin(hint)
        for one in get_args(hint):
            yield from _leaves(one)
    else:
        yield hint


def _number(value: Any) -> Any:
    """Text of a number that YAML 1.1 takes for text, `1e8`, as that number; all else as it is."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    exponent = "e" in value.lower() and math.isfinite(number)
    return int(number) if exponent and number.is_integer() else value


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # on first use: `--help` does without it

    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True))
