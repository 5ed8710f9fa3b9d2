"""Which unreviewed masks may be accepted, and what is certified of them: from a population, a queue and its reviews."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.review.config import AcceptConfig
from litelvlm.pipeline.review.edits import ABSENT, EDITED, REJECTED, UNSEEN, Row
from litelvlm.pipeline.review.guarantee import (
    NOTHING,
    Accepted,
    Sample,
    calibrate,
    conformal,
    fewest_reviews,
    fixed_sequence,
    forecast,
    interval,
)
from litelvlm.pipeline.review.population import Population, stratum_hash
from litelvlm.pipeline.review.queue import MERGED
from litelvlm.pipeline.review.queue_table import RANDOM, Queue

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)  # of the sample's size, for which is told what would be accepted
_ALL = ""  # stratum of everything


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may be accepted.

    Attributes:
        is_accepted: (N,) bool, over the population.
        certificate: what `certificate.json` says of it.
        calibration: scores, ascending, and the probability that a mask of such a score is right.
        sample: all masks of the simple random sample.
    """

    is_accepted: NDArray[np.bool_]
    certificate: dict[str, Any]
    calibration: tuple[NDArray[np.float64], NDArray[np.float64]]
    sample: Sample


def is_error(edit: Row, target_iou: float) -> bool:
    """Whether a reviewed mask was wrong: rejected, of something absent, or changed to one that overlaps it less."""
    return edit["verdict"] in (REJECTED, ABSENT) or (edit["verdict"] == EDITED and edit["iou"] < target_iou)


def certify(
    population: Population, places: Mapping[str, int], queue: Queue | None, edits: Sequence[Row], config: AcceptConfig
) -> Verdict:
    """Decide what may be accepted. `places` are those of the reviewed and the queued records in the population."""
    seen = {one["record"]: one for one in edits if one["record"] in places and one["verdict"] != UNSEEN}
    reviewed = np.zeros(len(population), bool)
    wrong = np.zeros(len(population), bool)
    for record, edit in seen.items():
        reviewed[places[record]] = True
        wrong[places[record]] = is_error(edit, config.target_iou)
    items = [row for row in (queue.items.to_pylist() if queue else []) if row["part"] == RANDOM]
    items = [row for row in items if population.is_mask[places[row["record"]]]]
    strata = _strata(population, items, queue)
    missing = [row for row in items if row["record"] not in seen]
    if config.unseen == "left-out":
        items = [row for row in items if row["record"] in seen]

    def sample(rows: Sequence[Row], inside: NDArray[np.bool_]) -> Sample:
        at = np.array([places[row["record"]] for row in rows], np.int64)
        return Sample(
            score=population.score[at].astype(np.float64),
            error=wrong[at] | ~reviewed[at],
            population=population.score[inside].astype(np.float64),
            reviewed=population.score[inside & reviewed].astype(np.float64),
            reviewed_error=wrong[inside & reviewed],
        )

    base = sample([row for row in items if row["is_base"]], population.is_mask)
    by_stratum = {
        name: sample([row for row in items if row["stratum"] == name], population.is_mask & (strata == code))
        for code, name in enumerate(queue.facts.strata_sizes if queue else ())
    }
    delta = (1 - config.confidence) / max(1, len(by_stratum))
    if config.each_stratum:
        sets = {name: _largest(one, config, 1 - delta) for name, one in by_stratum.items()}
    else:
        sets = {_ALL: _largest(base, config, config.confidence)}
    is_above = np.zeros(len(population), bool)
    for code, name in enumerate(by_stratum):
        chosen = sets.get(name, sets.get(_ALL, NOTHING))
        is_above |= population.is_mask & (strata == code) & (population.score >= chosen.threshold)
    is_accepted = is_above & ~reviewed
    counts = {name: int((is_accepted & (strata == code)).sum()) for code, name in enumerate(by_stratum)}
    certificate = {
        "num_accepted": int(is_accepted.sum()),
        "max_error": config.max_error,
        "confidence": config.confidence if config.method == "fixed-sequence" else None,
        "target_iou": config.target_iou,
        "method": config.method,
        "holds": _holds(config),
        "num_masks": int(population.is_mask.sum()),
        "accepted_share": float(is_above.sum() / max(1, population.is_mask.sum())),
        "num_reviewed": int(reviewed.sum()),
        "sample": _estimate(base, config.confidence) | {"num_unseen": sum(row["is_base"] for row in missing)},
        "accepted": None if config.each_stratum else _told(sets[_ALL]),
        "strata": {
            name: _estimate(one, config.confidence)
            | {"num_masks": len(one.population), "num_accepted": counts[name]}
            | ({"accepted": _told(sets[name])} if config.each_stratum else {})
            for name, one in by_stratum.items()
        },
        "conformal": _told(conformal(base, config.max_error)),
        "more_reviews": _more(base, config),
        "remarks": _remarks(base, missing, queue, config)
        + ([] if config.each_stratum else _worse(by_stratum, counts, sets[_ALL], config)),
    }
    return Verdict(
        is_accepted=is_accepted, certificate=certificate, calibration=calibrate(base.score, base.error), sample=base
    )


def _largest(sample: Sample, config: AcceptConfig, confidence: float) -> Accepted:
    if config.method == "conformal":
        return conformal(sample, config.max_error)
    return fixed_sequence(sample, config.max_error, confidence)


def _strata(population: Population, items: Sequence[Row], queue: Queue | None) -> NDArray[np.int64]:
    """For each record the number of its stratum among the queue's; those of no named one are in the merged one."""
    names = list(queue.facts.strata_sizes) if queue else []
    rest = names.index(MERGED) if MERGED in names else -1
    found = np.full(len(population), rest, np.int64)
    if queue and queue.facts.strata == "none":
        return np.zeros(len(population), np.int64)
    for code, name in enumerate(names):
        if name != MERGED:
            found[population.stratum == np.uint64(stratum_hash(name))] = code
    return found


def _estimate(sample: Sample, confidence: float) -> dict[str, Any]:
    """The share of errors of all masks that a sample is of, with Clopper and Pearson's interval."""
    count, errors = len(sample.score), int(sample.error.sum())
    low, high = interval(errors, count, confidence)
    return {
        "num_sampled": count,
        "num_errors": errors,
        "error_rate": errors / count if count else None,
        "error_rate_low": low,
        "error_rate_high": high,
    }


def _told(accepted: Accepted) -> dict[str, Any]:
    """A set as JSON has it."""
    return {
        "threshold": accepted.threshold if math.isfinite(accepted.threshold) else None,
        "num_accepted": accepted.count,
        "error_rate_bound": None if math.isnan(accepted.bound) else accepted.bound,
        "num_sampled": accepted.num_sampled,
        "num_errors": accepted.num_errors,
    }


def _more(sample: Sample, config: AcceptConfig) -> list[dict[str, int]]:
    """What a larger random sample would let accept, if its masks are as good as this one's."""
    if not len(sample.score) or config.each_stratum:
        return []
    known = min(len(sample.score), len(sample.population))
    found = []
    for factor in FACTORS:
        reviews = round(known * factor)
        if reviews >= len(sample.population):
            break
        expected = forecast(sample, config.max_error, config.confidence, reviews / known)
        found.append({"num_sampled": reviews, "num_accepted": expected})
    return found


def _holds(config: AcceptConfig) -> str:
    where = "in every stratum" if config.each_stratum else "over all of them together"
    if config.method == "conformal":
        return (
            f"The expected share of errors among what is accepted is at most {config.max_error:g} {where}, if reviewed "
            "and unreviewed masks are exchangeable. It is an average over samples, not a bound for this one."
        )
    return (
        f"The share of errors among what is accepted is at most {config.max_error:g} {where}, with confidence "
        f"{config.confidence:g}, if the random part was reviewed as it was drawn and the reviews are right. Exact for "
        "finite samples (hypergeometric bounds, tested in a fixed order), whatever the scores are worth."
    )


def _remarks(base: Sample, missing: Sequence[Row], queue: Queue | None, config: AcceptConfig) -> list[str]:
    """What a reader of the certificate has to know."""
    if queue is None:
        return ["Without --queue no review is known to be of a random sample: nothing is accepted unseen."]
    told = []
    if missing:
        how = "count as errors" if config.unseen == "as-errors" else "are left out, as if by chance"
        told.append(f"{len(missing)} masks of the random part are not reviewed: they {how}.")
    if fewest := max(0, fewest_reviews(config.max_error, config.confidence) - len(base.score)):
        told.append(
            f"The simple random sample has {len(base.score)} masks; a first set takes {fewest + len(base.score)} "
            "at or above some score, with an error among them at most."
        )
    return told


def _worse(
    by_stratum: Mapping[str, Sample], counts: Mapping[str, int], accepted: Accepted, config: AcceptConfig
) -> list[str]:
    """Strata of which the accepted masks are worse than all accepted ones may be."""
    told = []
    for name, one in by_stratum.items():
        inside = one.score >= accepted.threshold
        low, _ = interval(int(one.error[inside].sum()), int(inside.sum()), config.confidence)
        if counts[name] and low > config.max_error:
            told.append(
                f"{name}: of the {counts[name]} masks that are accepted here more than {config.max_error:g} are wrong "
                f"(at least {low:.3f}, by the sample); --each-stratum holds the share in each."
            )
    return told
