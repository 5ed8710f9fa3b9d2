"""Plain data comes through, of every protocol; everything that could run is refused before it does."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from litelvlm.evaluation.datasets.plain_pickle import PlainPickleError, load_plain
from tests.evaluation.datasets.refer_files import REFERENCES, python2_pickle

PLAIN = [{"a": [1, 2.5, None, True, ("x", "caf\xe9")], "b": {}, "long": 2**70, "negative": -3}, "a" * 300]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(protocol: Any) -> None:
    assert load_plain(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_texts_of_python_2(protocol: int) -> None:
    assert load_plain(python2_pickle(PLAIN, protocol)) == PLAIN
    assert load_plain(python2_pickle(REFERENCES, protocol)) == REFERENCES


class _Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: Any) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_payload_does_not_run(protocol: Any, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    payload = pickle.dumps([{"ref_id": 1}, _Runs(f"touch {trace}")], protocol)
    with pytest.raises(PlainPickleError, match="refused"):
        load_plain(payload)
    assert not trace.exists()
    pickle.loads(payload)  # it was a working payload
    assert trace.exists()


HOSTILE = {
    "import alone": b"cos\nsystem\n.",
    "old instance": b"(S'true'\nios\nsystem\n.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "builtins eval": b"cbuiltins\neval\n(S'1+1'\ntR.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pname\n.",
    "binary persistent": b"\x80\x02K\x01Q.",
    "build": b"(dp0\n(dp1\nb.",
    "reduce of plain data": b"\x80\x02]K\x01\x85R.",
    "new object": b"\x80\x02])\x81.",
    "byte array": b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.",
    "unknown opcode": b"\x80\x02\xff.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_opcodes_are_refused(name: Any) -> None:
    with pytest.raises(PlainPickleError, match=r"pickle (refused|damaged)"):
        load_plain(HOSTILE[name])


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"\x80\x02]", pickle.dumps(PLAIN)[:-3], b"\x80\x63.", b"\x80\x04\x95" + b"\xff" * 8]
)
def test_damaged_pickles_are_refused(data: Any) -> None:
    with pytest.raises(PlainPickleError):
        load_plain(data)


def test_huge_declared_sizes_cost_nothing() -> None:
    """A process with little memory reads them: what is declared is never allocated."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from evaluation.datasets.plain_pickle import load_plain, PlainPickleError\n"
        "print(load_plain(b'\\x80\\x02K\\x01r\\xff\\xff\\xff\\x7f.'))\n"  # the largest index of the memo
        "try:\n    load_plain(b'\\x80\\x04\\x8e' + b'\\xff' * 5 + b'\\x00' * 3 + b'.')\n"  # a text of 1 TB
        "except PlainPickleError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\nrefused\n"


@pytest.mark.parametrize("wrap", ["dict", "items", "item", "set", "frozenset"])
def test_keys_that_take_for_ever_to_hash_are_refused_at_once(wrap: str) -> None:
    endless = b"(t" + b"2\x86" * 60  # an empty tuple, sixty times paired with itself
    data = {
        "dict": b"(" + endless + b"Nd.",
        "items": b"}(" + endless + b"Nu.",
        "item": b"}" + endless + b"Ns.",
        "set": b"\x8f(" + endless + b"\x90.",
        "frozenset": b"(" + endless + b"\x91.",
    }[wrap]
    with pytest.raises(PlainPickleError, match="neither text nor number"):
        load_plain(b"\x80\x04" + data)
