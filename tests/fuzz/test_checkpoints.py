"""Damaged and lying weight files end as ValueError, and run nothing."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from litelvlm.config import ClipSizes, GlammConfig
from litelvlm.tokenizer import GlammTokenizer
from litelvlm.weight_files import iter_shapes, iter_tensors
from tests.fuzz.attempt import attempt
from tests.fuzz.mutate import mutated
from tests.fuzz.profiles import fuzz
from tests.parity.fixtures import GLAMM_TINY

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "b.bias": torch.ones(5, dtype=torch.bfloat16)}


def _pickled(*, as_zip: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(STATE, stream, _use_new_zipfile_serialization=as_zip)
    return stream.getvalue()


FILES = {"model.safetensors": save(STATE), "zip.bin": _pickled(as_zip=True), "legacy.bin": _pickled(as_zip=False)}


@pytest.mark.parametrize("name", FILES)
def test_mutated_weights(name: Any) -> None:
    @fuzz(300)
    @given(mutated([FILES[name]]))
    def check(data: bytes) -> None:
        _check_weights(name, data)

    check()


def _check_weights(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(data)
        for read in (iter_shapes, iter_tensors):
            found, error = attempt(ValueError, lambda read=read: dict(read([path])))
            assert error is None or name in str(error)
            for tensor in (found or {}).values():
                # Reading every number shows whether one lies outside the file.
                assert not isinstance(tensor, torch.Tensor) or tensor.clone().numel() < 10**7


SIZES = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.none(), st.text(max_size=3), st.booleans(), st.just([0])
)
HEADERS = st.dictionaries(
    st.one_of(st.sampled_from(["a.weight", "__metadata__", "", "../x", "\0"]), st.text(max_size=5)),
    st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.one_of(st.sampled_from(["F32", "BF16", "F8_E4M3", "F4", "I64", "BOOL", "X"]), SIZES),
            "shape": st.one_of(st.lists(st.integers(-1, 2**64), max_size=4), SIZES),
            "data_offsets": st.one_of(st.lists(st.integers(-1, 64), min_size=2, max_size=2), SIZES),
        },
    ),
    max_size=3,
)


@fuzz(300)
@given(HEADERS, st.binary(max_size=64), st.integers(-9, 9))
def test_lying_safetensors_headers(header: Any, body: Any, offset: Any) -> None:
    text = json.dumps(header).encode()
    _check_weights("model.safetensors", max(0, len(text) + offset).to_bytes(8, "little") + text + body)


CONFIG = json.loads((GLAMM_TINY / "config.json").read_text())


@fuzz(300)
@given(st.dictionaries(st.sampled_from([*CONFIG, "sam", "rope_theta"]), SIZES, min_size=1, max_size=3), st.booleans())
def test_configurations(changes: Any, nested: Any) -> None:
    values = CONFIG | ({"sam": CONFIG.get("sam", {}) | changes} if nested else changes)
    clip = ClipSizes(vision_width=CONFIG["mm_hidden_size"], vision_heads=1)
    config, error = attempt(ValueError, GlammConfig.from_published, values, clip)
    if error is not None:
        assert str(error).isprintable()
        return
    assert config.llm.hidden_size <= 2**18
    assert config.sam.num_hidden_layers <= 512


@fuzz(300)
@given(mutated([(GLAMM_TINY / "tokenizer.model").read_bytes()]))
def test_mutated_tokenizers(data: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "tokenizer.model").write_bytes(data)
        try:
            tokenizer = GlammTokenizer(directory)
        except ValueError:
            return
        ids = tokenizer.encode(["the red box"])
        assert all(0 <= number < tokenizer.vocab_size for number in ids)
