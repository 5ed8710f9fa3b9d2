"""What devices reach at their best in dense bf16 matrix products, to tell how well they are used (MFU).

As of 2026-11. Hopper's SXM chip was measured; the others are the vendors' data sheets without sparsity, and what a real
matrix product reaches lies below those. A device that is not listed has no MFU.
"""

from __future__ import annotations

#: Part of the device's name -> TFLOP/s, dense bf16 with float32 accumulation. The first part found counts.
PEAKS_TFLOP_PER_S: tuple[tuple[str, float, str], ...] = (
    ("H100 80GB HBM3", 798.0, "measured: 8192-cubed bf16 product on an H100 SXM"),
    ("H100 PCIe", 756.0, "NVIDIA H100 data sheet, PCIe"),
    ("H100 NVL", 835.0, "NVIDIA H100 data sheet, NVL, one GPU"),
    ("H200", 798.0, "as the H100 SXM: the same chip with other memory"),
    ("GH200", 798.0, "as the H100 SXM: the same chip with other memory"),
    ("B200", 2250.0, "NVIDIA DGX B200 data sheet, one GPU"),
    ("A100", 312.0, "NVIDIA A100 data sheet"),
    ("L40S", 362.0, "NVIDIA L40S data sheet"),
    ("L4", 121.0, "NVIDIA L4 data sheet"),
    ("A10G", 70.0, "NVIDIA A10G data sheet"),
    ("A10", 125.0, "NVIDIA A10 data sheet"),
    ("RTX 4090", 165.2, "NVIDIA Ada architecture paper"),
    ("RTX 3090", 71.0, "NVIDIA GA102 architecture paper"),
)


def peak_tflop_per_s(device: str | None) -> float | None:
    """TFLOP/s of a device by the name that CUDA gives it; None for a CPU or one that is not listed."""
    if device is None:
        return None
    words = device.replace("-", " ").upper()
    return next((peak for name, peak, _ in PEAKS_TFLOP_PER_S if f" {name.upper()} " in f" {words} "), None)
