"""Cores that one device needs: what the host does for an image, times the images that the device takes a second."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu.release import TABLE
from benchmarks.gpu.session import Findings, Session
from benchmarks.synthetic import jpeg
from benchmarks.timing import time_kernel
from litelvlm.config import GlammConfig
from litelvlm.pipeline.images.decode import decode_image
from litelvlm.preprocess import Preprocessor
from tests.parity.fixtures import GLAMM_TINY

SIZES_HW = {"0.3 MP": (480, 640), "1 MP": (864, 1152), "12 MP": (3000, 4000)}
RESIZING = ("exact", "fast")
_CALLS = 3


def run(session: Session, found: Findings) -> None:
    """Milliseconds of a core from JPEG to prepared image, and the cores that keep the device busy in each setting."""
    preparing = found.rows("a JPEG to both encoders' pixels, one core")
    preparing += [prepare_row(name, size_hw, resizing) for name, size_hw in SIZES_HW.items() for resizing in RESIZING]
    measured = session.findings["release"].tables.get(TABLE, []) if "release" in session.findings else []
    found.rows("cores that decode for one device").extend(cores_row(row, preparing) for row in measured)
    if not measured:
        found.notes.append("How many images the device takes a second was not measured in this run.")


def prepare_row(name: str, size_hw: tuple[int, int], resizing: str) -> dict[str, Any]:
    """The median of a few rounds, on one thread, at the published sizes."""
    data, preprocessor = jpeg(size_hw), Preprocessor(GlammConfig(), GLAMM_TINY, resizing)

    def prepare() -> None:
        decoded = decode_image(data, needed_size=preprocessor.needed_size)
        preprocessor.prepare(decoded.rgb, decoded.size_hw)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = time_kernel(prepare, torch.device("cpu"), calls=_CALLS).wall_s
    finally:
        torch.set_num_threads(threads)
    return {"size": name, "resizing": resizing, "ms": round(1e3 * seconds, 2)}


def cores_row(setting: dict[str, Any], preparing: list[dict[str, Any]]) -> dict[str, Any]:
    """Images a second of a setting times seconds of a core for each way of preparing them."""
    return {
        **{name: setting[name] for name in ("phrases_per_image", "tokens", "layout", "images_per_s")},
        **{
            f"{one['size']} {one['resizing']}": round(setting["images_per_s"] * one["ms"] / 1e3, 2) for one in preparing
        },
    }
