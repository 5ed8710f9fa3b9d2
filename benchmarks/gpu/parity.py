"""The recorded cases of the release on the device, in float32 and in bfloat16."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.session import Findings, Session
from litelvlm import AnnotationRequest, Annotator
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY, Case, load_cases, mask_iou

LEAST_IOU, MOST_ERROR = 0.999, 1e-3  # in float32, as in the tests


def run(session: Session, found: Findings) -> None:
    """Every case in both precisions; in float32 they must match, bfloat16 is told.

    Raises:
        AssertionError: names the cases that do not match in float32.
    """
    cases = load_cases()
    with exact_float32():
        rows = found.rows("float32, TF32 off")
        rows += compare(session, "float32", cases)
        off = [row["case"] for row in rows if not matches(row)]
        found.facts["cases that match in float32"] = f"{len(rows) - len(off)} of {len(rows)}"
    rows = found.rows("bfloat16")
    rows += compare(session, "bfloat16", cases)
    found.facts["mean IoU in bfloat16"] = round(float(np.mean([row["mean_iou"] for row in rows])), 4)
    assert not off, f"float32 does not match the release: {', '.join(off)}"


def compare(session: Session, dtype: str, cases: list[Case]) -> list[dict[str, Any]]:
    """A row for each case: IoU of masks, error of mask prompts to the largest, whether the same tokens stay."""
    annotator = Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY, device=session.device, dtype=dtype)
    return [_row(annotator, case) for case in cases]


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is as near as float32 has to be."""
    return bool(row["same_tokens"] and row["least_iou"] >= LEAST_IOU and row["prompt_error"] <= MOST_ERROR)


def _row(annotator: Annotator, case: Case) -> dict[str, Any]:
    request = AnnotationRequest(image=case.image, phrases=case.phrases)
    (result,) = annotator.annotate([request], pruning=case.pruning, layout="rounds", template=case.template)
    ious = [mask_iou(one, other) for one, other in zip(result.masks, case.masks, strict=True)]
    prompts = case.recorded["mask_prompts"].numpy()
    expected = case.recorded.get("retained", torch.arange(annotator.num_visual_tokens)).tolist()
    return {
        "case": case.name,
        "phrases": len(ious),
        "least_iou": round(min(ious), 5),
        "mean_iou": round(float(np.mean(ious)), 5),
        "prompt_error": float(np.abs(result.mask_prompts - prompts).max() / np.abs(prompts).max()),
        "same_tokens": all(kept.tolist() == expected for kept in result.retained),
    }


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Without TF32, which convolutions have by default."""
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before
