"""Devices and precisions by name."""

from __future__ import annotations

import pytest
import torch

from litelvlm import Annotator
from litelvlm.engine.device import DTYPES, resolve_device, resolve_dtype
from litelvlm.precision import FLOAT8
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY


@pytest.mark.parametrize(("arguments", "message"), [({"device": "tpu9"}, "device"), ({"dtype": "int3"}, "dtype")])
def test_bad_devices_and_dtypes_name_the_field(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY, **arguments)


def test_its_name_is_float8() -> None:
    assert resolve_dtype("float8") is FLOAT8
    with pytest.raises(ValueError, match="choose one of bfloat16, float32, float8"):
        resolve_dtype("fp8")


def test_names_and_dtypes_of_the_engine_are_known() -> None:
    assert resolve_dtype("bfloat16") is torch.bfloat16 is resolve_dtype(torch.bfloat16)
    assert {"bfloat16": torch.bfloat16, "float32": torch.float32} == DTYPES


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8, "half"])
def test_what_the_engine_does_not_compute_in_is_refused(dtype: str | torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"^dtype: .* is not known; choose one of bfloat16, float32, float8$"):
        resolve_dtype(dtype)


def test_a_device_without_a_gpu_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device: cuda is not available here; use cpu$"):
        resolve_device("cuda:1")
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
