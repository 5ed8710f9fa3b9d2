"""A device's peak is found by the name that CUDA gives it, and by no other device's."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.measure.device_peaks import PEAKS_TFLOP_PER_S, peak_tflop_per_s


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 798.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H100 NVL", 835.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("nvidia a100-pcie-40gb", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA L40", None),
        ("NVIDIA H100", None),  # which of the three is not said
        ("NVIDIA A1000", None),
        ("cpu", None),
        ("", None),
        (None, None),
    ],
)
def test_peaks_are_found_by_whole_words(device: str | None, peak: float | None) -> None:
    assert peak_tflop_per_s(device) == peak


def test_every_figure_names_its_source_and_is_found_by_its_own_name() -> None:
    for name, peak, source in PEAKS_TFLOP_PER_S:
        assert peak_tflop_per_s(f"NVIDIA {name}") == peak > 0
        assert len(source) > 10
