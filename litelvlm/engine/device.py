"""Where and in which precision the engine computes."""

from __future__ import annotations

import torch

from litelvlm.config import WEIGHT_DTYPES
from litelvlm.precision import FLOAT8

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in WEIGHT_DTYPES}
_COMPUTED = {**DTYPES, "float8": FLOAT8}


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of that name. Raises ValueError if it is unknown or not there."""
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: {device!r} is not known; use cpu or cuda") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda is not available here; use cpu")
    return resolved


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The dtype of that name; what float8 means, `load_model` says. Raises ValueError if the engine has no such one."""
    if isinstance(dtype, torch.dtype) and dtype in _COMPUTED.values():
        return dtype
    if dtype not in _COMPUTED:
        raise ValueError(f"dtype: {dtype!r} is not known; choose one of {', '.join(_COMPUTED)}")
    return _COMPUTED[str(dtype)]
