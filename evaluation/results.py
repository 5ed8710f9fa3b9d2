"""From answers to the table of results: every combination on every slice, with intervals and measured cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.config import GlammConfig, PruningConfig
from litelvlm.evaluation.answers import Answers, rank_correlation
from litelvlm.evaluation.bootstrap import bootstrap_intervals
from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.evaluation.metrics import compute_metrics, iou_per_expression
from litelvlm.evaluation.operations import llm_tflop

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds on the device over the whole evaluation, as the actors measured them.

    `encode_s` is shared by all combinations; `answer_s` and `llm_s` are theirs, one entry each. `images` were encoded
    and `prompts` answered under each combination, with `text_tokens` besides the visual ones.
    """

    encode_s: float
    answer_s: tuple[float, ...]
    llm_s: tuple[float, ...]
    images: int
    prompts: int
    text_tokens: int
    devices: tuple[str, ...]

    @classmethod
    def of(cls, markers: Iterable[AnswersMarker]) -> Cost:
        """Add up the shards' markers."""
        facts = [marker.facts for marker in markers]
        return cls(
            encode_s=sum(one.encode_s for one in facts),
            answer_s=tuple(map(sum, zip(*(one.answer_s for one in facts), strict=True))),
            llm_s=tuple(map(sum, zip(*(one.llm_s for one in facts), strict=True))),
            images=sum(one.images for one in facts),
            prompts=sum(one.prompts for one in facts),
            text_tokens=sum(one.text_tokens for one in facts),
            devices=tuple(sorted({one.device for one in facts})),
        )


def result_rows(
    config: EvaluationConfig,
    answers: Answers,
    cost: Cost,
    *,
    revision: str,
    num_visual_tokens: int,
    sizes: GlammConfig | None = None,
) -> Iterator[Row]:
    """Rows of `RESULT_SCHEMA`, by combination, then by slice; slices without an expression are left out.

    `sizes` are the model's, for modelled operations.
    """
    combinations = config.sweep.combinations()
    slices = list(answers.slices())
    for index, pruning in enumerate(combinations):
        own = answers["combination"] == index
        common = _described(config, pruning, num_visual_tokens) | {
            "model_revision": revision,
            "combination": index,
        }
        for dimension, name, member in slices:
            chosen = own & member
            if not chosen.any():
                continue
            row = common | {"slice_by": dimension, "slice": name} | _scored(config, answers, chosen)
            if dimension == "all" and row["expressions"]:
                row |= _cost_of(cost, index, pruning, sizes, row["expressions"])
            yield row


def _described(config: EvaluationConfig, pruning: PruningConfig, num_visual_tokens: int) -> Row:
    return {
        "dataset": config.dataset,
        "protocol": config.protocol.describe(),
        "model": config.run.model.model,
        "rule": "none" if pruning.is_unpruned(num_visual_tokens) else pruning.rule,
        "num_retain_tokens": pruning.budget(num_visual_tokens),
        "num_visual_tokens": num_visual_tokens,
        "order": pruning.order,
        "positions": pruning.positions,
        "seed": pruning.seed,
    }


def _scored(config: EvaluationConfig, answers: Answers, chosen: NDArray[np.bool_]) -> Row:
    """Metrics of a combination on a slice. Failed expressions are counted and enter no metric."""
    scored = chosen & ~answers.failed
    common, predicted, true = (answers[name][scored] for name in ("intersection", "predicted_area", "true_area"))
    iou = iou_per_expression(common, predicted + true - common)
    intervals = bootstrap_intervals(
        common, predicted, true, answers.image[scored].tolist(), num_samples=config.bootstrap_samples
    )
    known = answers["coverage"][scored]
    known = known[np.isfinite(known)]
    return {
        "images": len(np.unique(answers.image[scored])),
        "expressions": int(scored.sum()),
        "no_target": int((true == 0).sum()),
        "failed": int((chosen & answers.failed).sum()),
        **compute_metrics(common, predicted, true, answers["boundary_f"][scored]),
        **{f"{name}_low": low for name, (low, _) in intervals.items()},
        **{f"{name}_high": high for name, (_, high) in intervals.items()},
        "coverage": float(known.mean()) if known.size else None,
        "score_rank_correlation": rank_correlation(answers["score"][scored], iou),
    }


def _cost_of(cost: Cost, index: int, pruning: PruningConfig, sizes: GlammConfig | None, expressions: int) -> Row:
    """Per expression that was answered: measured seconds, modelled operations."""
    work = {"prompts": cost.prompts, "text_tokens": cost.text_tokens, "expressions": expressions}
    return {
        "encode_s": cost.encode_s / expressions,
        "answer_s": cost.answer_s[index] / expressions,
        "llm_s": cost.llm_s[index] / expressions,
        "llm_tflop": llm_tflop(sizes, pruning, **work) if sizes is not None else None,
    }
