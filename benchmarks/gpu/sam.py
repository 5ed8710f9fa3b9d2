"""SAM's image encoder in parts: what its products, its attention and all the rest take, each timed apart.

Attention is timed on random queries, keys and values of the encoder's shapes. `no positions` is what plain attention
would take, `bias matrix` adds the relative positions as one, `folded` has them within longer heads, `folded, padded` in
heads as long as the kernels' next size, so that queries, keys and values have it without a copy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.session import Findings, Session
from benchmarks.timing import time_kernel
from litelvlm.config import SamSizes

BATCH = 8
_CALLS = {"cuda": 10, "cpu": 1}
_SECONDS = 25.0
_BACKENDS = {
    "cuda": (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION),
    "cpu": (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH),
}
_HEAD_SIZES = (16, 32, 64, 96, 128, 192, 256)  # of kernels


def run(session: Session, found: Findings) -> None:
    """A layer's parts, its attention in several cuts, and the encoder as a whole."""
    encoder: Any = session.contest.annotator.model.grounding_encoder.image_encoder
    sizes, dtype = session.size.config.sam, session.contest.annotator.model.dtype
    _time_all(session, found.rows("parts, a batch"), parts(encoder, sizes, dtype, session.device))
    session.write()
    for kind, side in (("windows", sizes.window_size), ("global", sizes.grid_size)):
        num_windows = BATCH * (-(-sizes.grid_size // side)) ** 2
        session.require(_SECONDS if session.device.type == "cuda" else 0)
        cuts = attention_cuts(num_windows, sizes.num_attention_heads, side, _head_size(sizes), dtype, session.device)
        _time_all(session, found.rows(f"attention of one layer, {kind}"), cuts)
        session.write()


def parts(
    encoder: Any, sizes: SamSizes, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[dict[str, Any], Callable[[], Any]]]:
    """What to call for each part of the encoder, on a batch of images: stem, neck, one layer's parts, all of it."""
    grid, width = sizes.grid_size, sizes.hidden_size
    hidden = torch.randn(BATCH, grid, grid, width, device=device, dtype=dtype)
    pixels = torch.randn(BATCH, 3, sizes.image_size, sizes.image_size, device=device, dtype=dtype)
    wide = torch.randn(BATCH, grid, grid, 4 * width, device=device, dtype=dtype)
    layer = encoder.layers[0]
    calls: dict[str, Callable[[], Any]] = {
        "patch embedding": functools.partial(encoder.patch_embed, pixels),
        "norm": functools.partial(layer.layer_norm1, hidden),
        "queries, keys, values": functools.partial(F.linear, hidden, layer.attn.qkv.weight, layer.attn.qkv.bias),
        "attention's output": functools.partial(F.linear, hidden, layer.attn.proj.weight, layer.attn.proj.bias),
        "MLP, first product": functools.partial(F.linear, hidden, layer.mlp.lin1.weight, layer.mlp.lin1.bias),
        "GELU": functools.partial(F.gelu, wide),
        "MLP, second product": functools.partial(F.linear, wide, layer.mlp.lin2.weight, layer.mlp.lin2.bias),
        "residual": functools.partial(torch.add, hidden, hidden),
        "neck": functools.partial(encoder.neck, hidden),
        "whole encoder, transformers'": functools.partial(encoder, pixels),
    }
    for name, call in calls.items():
        yield {"part": name}, call


def attention_cuts(
    num_windows: int, heads: int, side: int, size: int, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[dict[str, Any], Callable[[], Any]]]:
    """What to call for each cut of attention with each of PyTorch's kernels, over W windows of side x side patches."""
    draw = functools.partial(torch.randn, num_windows, heads, side**2, device=device, dtype=dtype)
    folded = size + 2 * side
    padded = next((length for length in _HEAD_SIZES if length >= folded), folded)
    for name, length in (("no positions", size), ("folded", folded), ("folded, padded", padded)):
        queries, keys, values = (draw(length) for _ in range(3))
        for backend in _BACKENDS[device.type]:
            yield _named(name, length, backend), functools.partial(_attend, backend, queries, keys, values)
    queries, keys, values = (draw(size) for _ in range(3))
    bias = draw(side**2)
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        if device.type == "cuda" or backend == SDPBackend.MATH:
            yield _named("bias matrix", size, backend), functools.partial(_attend, backend, queries, keys, values, bias)


def _named(cut: str, head_size: int, backend: SDPBackend) -> dict[str, Any]:
    return {"cut": cut, "head_size": head_size, "kernel": backend.name.lower().removesuffix("_attention")}


def _attend(backend: SDPBackend, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)


def _time_all(
    session: Session, rows: list[dict[str, Any]], calls: Iterator[tuple[dict[str, Any], Callable[[], Any]]]
) -> None:
    """A row for each call; what a kernel refuses, or memory does not hold, has its reason there."""
    for names, call in calls:
        try:
            with torch.inference_mode():
                timing = time_kernel(call, session.device, calls=_CALLS[session.device.type])
        except RuntimeError as error:
            rows.append(names | {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"})
            continue
        ms = 1e3 * (timing.wall_s if timing.device_s is None else timing.device_s)
        rows.append(names | {"ms": round(ms, 4), "ms_by_wall_clock": round(1e3 * timing.wall_s, 4)})


def _head_size(sizes: SamSizes) -> int:
    return sizes.hidden_size // sizes.num_attention_heads
