"""Processes that die while they write, without processes."""

from __future__ import annotations

import os
import shutil

import pytest

from litelvlm.pipeline.storage import store


class Killed(BaseException):
    """Nothing of the program catches it."""


def kill_at(patch: pytest.MonkeyPatch, place: int, *, published: bool) -> list[str]:
    """Die at a write, counted from 0: before its file has its name, which leaves half of it under a temporary one, or
    right after. Returns the paths of what is written before."""
    replace, written = store._replace, list[str]()

    def dying(temporary: str, path: str) -> None:
        if len(written) == place:
            if published:
                replace(temporary, path)
            else:
                left = f"{path}{store._TEMPORARY}dead"
                shutil.copyfile(temporary, left)
                os.truncate(left, os.path.getsize(left) // 2)
            raise Killed
        written.append(path)
        replace(temporary, path)

    patch.setattr(store, "_replace", dying)
    return written
