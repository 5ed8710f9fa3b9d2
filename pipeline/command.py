"""What every job does around its work: flags from settings, errors in one line without secrets, an exit code."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from litelvlm.pipeline.config import load_yaml
from litelvlm.pipeline.errors import (
    MISTAKES,
    CredentialsError,
    DataError,
    Interrupted,
    RunError,
    StorageError,
    UsageError,
)
from litelvlm.pipeline.exit_codes import EXIT_CRASHED, EXIT_USAGE
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.settings import Declared, Settings, flat, guess
from litelvlm.pipeline.signals import signals_interrupt

S = TypeVar("S", bound=Settings)


class JobParser(argparse.ArgumentParser):
    """A parser of declared settings, whose mistakes are told like all others of a job.

    Flags stay text: they are read where those of YAML are. None means "not given".
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._headings: dict[str, Any] = {Settings.section: self._optionals}

    def add_settings(self, settings: type[Settings], *, config: bool = True) -> JobParser:
        """Add the flags of all settings, below headings, and `--config` if there may be one. Returns the parser."""
        if config:
            self.add_argument(
                "--config", metavar="YAML", help="settings by the flags' names; flags win (default: none)"
            )
        for one in flat(settings):
            place = self if one.flag.positional else self.heading(one.group)
            place.add_argument(one.option, **_described(one), help=_help(one))
        return self

    def heading(self, title: str) -> Any:
        """The group of flags below a heading."""
        if title not in self._headings:
            self._headings[title] = self.add_argument_group(title)
        return self._headings[title]

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse. Raises UsageError for what is not known, naming the nearest flag that is."""
        flags, rest = self.parse_known_args(args, namespace)
        for word in [one for one in rest if one.startswith("-")] or rest[:1]:
            flag, _, _ = word.partition("=")
            raise UsageError(f"{flag}: no such flag{guess(flag, self.known_flags())}")  # values may hold a secret
        return flags

    def known_flags(self) -> list[str]:
        """Those of subcommands among them."""
        below = [one.choices.values() for one in self._actions if isinstance(one, argparse._SubParsersAction)]
        return [
            *self._option_string_actions,
            *(flag for parsers in below for one in parsers for flag in one.known_flags()),
        ]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise UsageError(f"{value}: choose from {', '.join(action.choices)}{guess(value, action.choices)}")


def configure(settings: type[S], flags: dict[str, Any]) -> S:
    """Flags over the YAML file that they name over the defaults. Raises UsageError naming what does not fit."""
    given = {key: value for key, value in flags.items() if value is not None}
    path = given.pop("config", None)
    try:
        return settings.from_flat((load_yaml(path, settings) if path else {}) | given)
    except MISTAKES as error:
        raise UsageError(str(error)) from error


def _described(one: Declared) -> dict[str, Any]:
    """How argparse takes it."""
    if one.flag.positional:
        return {"nargs": "?", "metavar": one.flag.metavar or one.key.upper()}
    if one.kinds == {bool}:
        return {"dest": one.key, "action": argparse.BooleanOptionalAction}
    number = "N" if int in one.kinds else "X" if float in one.kinds else None
    described = {"dest": one.key, "metavar": one.flag.metavar or number or one.key.upper().rpartition("_")[2]}
    return described | ({"nargs": "+", "action": "extend"} if one.flag.repeat else {})


def _help(one: Declared) -> str:
    words = f"{one.flag.help}: {', '.join(one.flag.choices)}" if one.flag.choices else one.flag.help
    ending = "required" if one.is_required else f"default: {one.default_in_words}"
    return f"{words} ({ending})".replace("%", "%%")


class Secrets:
    """What a job must not print: nothing is known at first, storage options once they are read."""

    def __init__(self) -> None:
        self.redact = Redactor({})

    def of(self, options: dict[str, Any]) -> dict[str, Any]:
        """Keep the values of storage options out of what is printed from now on. Returns the options."""
        self.redact = Redactor(options)
        return options


def run_job(
    work: Callable[[Secrets], int], *, mistakes: tuple[type[Exception], ...] = (UsageError,), resumes: bool = False
) -> int:
    """Do a job's work and return its exit code, which is 1 where it crashed and 2 where it raised one of `mistakes`.

    `resumes` says that the same command, run again, goes on where this one ended.
    """
    secrets = Secrets()
    again = "; run again to resume" if resumes else ""
    try:
        with signals_interrupt():
            return work(secrets)
    except mistakes as error:
        return _told(f"error: {secrets.redact(str(error))}", EXIT_USAGE)
    except StorageError as error:
        kept = ". What was committed is kept" if resumes else ""
        advice = "" if isinstance(error, CredentialsError) else again
        return _told(f"error: storage: {secrets.redact(str(error))}{kept}{advice}", EXIT_CRASHED)
    except DataError as error:
        return _told(f"error: output: {secrets.redact(str(error))}", EXIT_CRASHED)
    except RunError as error:
        return _told(f"error: {secrets.redact(str(error))}{again}", EXIT_CRASHED)
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        return stop.exit_code if stop.told else _told(f"{stop.word}{again}", stop.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a crash must not print secrets
        print(secrets.redact.text(traceback.format_exc()), file=sys.stderr)
        return _told(f"error: crashed: {secrets.redact(f'{type(error).__name__}: {error}')}{again}", EXIT_CRASHED)


def _told(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
