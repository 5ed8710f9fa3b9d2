"""Values on their way between host and device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litelvlm.transfer import NamedCopies, all_on_device, on_device

CPU = torch.device("cpu")


@pytest.mark.parametrize("values", [[3, 1, 2], (3, 1, 2), range(3)])
def test_a_sequence_becomes_int64(values: list[int]) -> None:
    found = on_device(values, CPU)
    assert (found.dtype, found.tolist()) == (torch.int64, list(values))
    assert on_device([], CPU).dtype == torch.int64  # torch alone would say float32


def test_an_array_keeps_its_dtype() -> None:
    assert on_device(np.array([[1, 2]], dtype=np.uint8), CPU).dtype == torch.uint8


def test_they_arrive_on_the_device_that_is_asked_for() -> None:
    assert on_device([1], torch.device("meta")).is_meta


def test_copies_are_arrays_in_the_order_given() -> None:
    first, second = NamedCopies({"a": torch.ones(2), "b": torch.arange(3)}).wait().values()
    np.testing.assert_array_equal(first, np.ones(2, np.float32))
    np.testing.assert_array_equal(second, np.arange(3))
    assert NamedCopies({}).wait() == {}


def test_many_arrays_arrive_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[int] = []
    monkeypatch.setattr("litelvlm.transfer.on_device", lambda a, d: (copies.append(len(a)), on_device(a, d))[1])  # type: ignore[func-returns-value]
    arrays = {
        "short": np.array([1, -2, 3], np.int32),
        "long": np.array([2**40, -5]),
        "none": np.zeros(0, np.int64),
        "sliced": np.arange(10)[::3],
    }
    found = all_on_device(arrays, CPU)
    assert len(copies) == 1
    for name, array in arrays.items():
        assert found[name].tolist() == array.tolist()
        assert found[name].dtype == (torch.int32 if name == "short" else torch.int64)
    assert all_on_device(arrays, torch.device("meta"))["long"].shape == (2,)
