"""A directory that is made from runs: a small JSON file in it says from what and how; nothing else is mixed in."""

from __future__ import annotations

import json
import shlex
from typing import Any

from litelvlm.pipeline.storage.store import Storage


def directory_claim(output: Storage, name: str, mine: dict[str, Any], *, given: str, kind: str) -> bytes:
    """The content of the file, to be written before anything else is.

    Args:
        output: the directory.
        name: of the file.
        mine: what is made, as JSON values.
        given: the directory as the user named it, for the message.
        kind: what is made, in a word.

    Raises:
        ValueError: the directory holds another one of the kind, or files that nobody claimed.
    """
    try:
        there = json.loads(output.read_bytes(name))
    except FileNotFoundError:
        there = None
    except ValueError:
        there = {}
    names = output.whole_files() if there is None else []
    if there not in (None, mine) or names:
        what = f"another {kind}" if there is not None else f"something else, such as {names[0]}"
        raise ValueError(f"--output {shlex.quote(given)}: holds {what}; choose another directory")
    return json.dumps(mine).encode() + b"\n"
