"""Pickles of plain data, read without executing them: `refs(unc).p` is a pickle of Python 2, and pickles are programs.

Admitted are None, bool, int, float, bytes, str, tuple, list, dict and set, in every protocol. The unpickler knows the
opcodes that build these and no other: none that imports, calls, restores an object or asks for one outside the file.
It is the one in Python, because that in C allocates what a file declares (a memo of 64 GB for a file of 7 bytes).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

MAX_BYTES = 1 << 30

_PLAIN = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("DICT", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
)


class PlainPickleError(ValueError):
    """A pickle that holds more than plain data, or is damaged."""


def _refuse(code: int) -> Callable[[Any], None]:
    def refuse(_: Any) -> None:
        raise PlainPickleError(f"opcode {bytes([code])!r} does more than build plain data")

    return refuse


# Where the keys of a dict and the members of a set lie on the stack when they are hashed. A tuple that holds itself
# twice, forty times over, fits into 200 bytes and takes hours to hash: keys are texts and numbers.
_KEYS = {"SETITEM": slice(-2, -1), "SETITEMS": slice(0, None, 2), "DICT": slice(0, None, 2)}
_MEMBERS = {"ADDITEMS": slice(None), "FROZENSET": slice(None)}


def _checked(hashing: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    def check(unpickler: Any) -> None:
        if not all(key is None or isinstance(key, str | bytes | int | float) for key in unpickler.stack[keys]):
            raise PlainPickleError("a dict or set with keys that are neither text nor number")
        hashing(unpickler)

    return check


def _plain_dispatch() -> dict[int, Callable[[Any], None]]:
    known = pickle._Unpickler.dispatch
    plain = {getattr(pickle, name)[0] for name in _PLAIN}
    dispatch = {code: known[code] if code in plain else _refuse(code) for code in range(256)}
    for name, keys in (_KEYS | _MEMBERS).items():
        code = getattr(pickle, name)[0]
        dispatch[code] = _checked(known[code], keys)
    return dispatch


class _PlainUnpickler(pickle._Unpickler):
    dispatch: ClassVar = _plain_dispatch()

    def find_class(self, module: str, name: str) -> Any:
        """Unreachable without the opcodes that look things up; should Python grow another, it is refused here."""
        raise PlainPickleError(f"it wants to import {module[:80]!r}.{name[:80]!r}")


def load_plain(data: bytes) -> Any:
    """The plain data that a pickle holds; texts of Python 2 are read as Latin-1.

    Raises PlainPickleError (a ValueError) where the pickle holds anything else, or is damaged.
    """
    if len(data) > MAX_BYTES:
        raise PlainPickleError(f"pickle refused: {len(data)} bytes, the limit is {MAX_BYTES}")
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except PlainPickleError as error:
        raise PlainPickleError(f"pickle refused: {error}; only lists, dicts, texts and numbers are read") from None
    except Exception as error:  # noqa: BLE001 - on hostile bytes the unpickler raises anything
        raise PlainPickleError(f"pickle damaged: {type(error).__name__}: {str(error)[:120]}") from None
