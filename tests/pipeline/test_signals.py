"""Signals become an exception in the main thread, and nothing else."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from litelvlm.pipeline.errors import Interrupted
from litelvlm.pipeline.signals import handlers_kept, signals_interrupt


@pytest.mark.parametrize(
    ("number", "word", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_a_signal_is_raised_and_handlers_are_put_back(number: int, word: str, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, signals_interrupt():
        os.kill(os.getpid(), number)
    assert (caught.value.word, caught.value.exit_code, caught.value.told) == (word, code, False)
    assert signal.getsignal(number) is before


def test_what_others_set_meanwhile_does_not_stay() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with handlers_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_touched() -> None:
    found = []

    def look() -> None:
        with signals_interrupt(), handlers_kept():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
