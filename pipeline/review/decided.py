"""What reviewers have decided, for a second run over the same input that leaves it alone."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litelvlm.pipeline.config import RunConfig, fingerprint
from litelvlm.pipeline.review.edits import ABSENT, ADDED, EDITED, UNCHANGED, read_all_edits
from litelvlm.pipeline.shards.manifest import RunPlan, Shard, record_key
from litelvlm.pipeline.shards.payload import Decision

#: Verdicts that leave nothing to do. What was rejected, or not seen, is asked again.
DECIDED = (UNCHANGED, EDITED, ABSENT, ADDED)
Decisions = dict[int, dict[int, Decision]]  # row of a file -> position of a phrase in it -> what is decided


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Phrases that need no answer, by shard.

    Attributes:
        by_shard: id of a shard -> its rows.
        digest: of all of them; empty where there is none.
    """

    by_shard: dict[str, Decisions] = field(default_factory=dict)
    digest: str = ""

    @property
    def num_phrases(self) -> int:
        """How many there are."""
        return sum(len(phrases) for rows in self.by_shard.values() for phrases in rows.values())


def leave_decided(plan: RunPlan, config: RunConfig) -> tuple[RunPlan, Decided]:
    """The plan of a run, which what reviewers have decided belongs to, and that.

    Raises:
        ValueError: `skip_reviewed` names what holds no reviews of this input.
    """
    if not config.skip_reviewed:
        return plan, Decided()
    decided = read_decided(config.skip_reviewed, config.storage_options, plan.shards)
    facts = plan.facts | {"reviewed": decided.digest}
    remark = f"{decided.num_phrases} phrases are reviewed and not asked again"
    return replace(plan, facts=facts, fingerprint=fingerprint(facts), remarks=(*plan.remarks, remark)), decided


def read_decided(paths: Sequence[str], options: dict[str, Any], shards: Sequence[Shard]) -> Decided:
    """The phrases of a plan that reviewers have decided, of `edits.parquet` in each path.

    Raises:
        ValueError: a path holds no reviews, or none of a record of this input.
    """
    by_file: dict[str, list[Shard]] = defaultdict(list)
    for shard in shards:  # in the order of rows within a file
        by_file[shard.file].append(shard)
    found: dict[str, Decisions] = {}
    for path in paths:
        edits = [edit for edit in read_all_edits(path, options) if edit["record"] and edit["verdict"] in DECIDED]
        placed = [(one, edit) for edit in edits if (one := _shard_of(edit, by_file)) is not None]
        if not placed:
            raise ValueError(f"--skip-reviewed {path}: holds no decided record of this input")
        for shard, edit in placed:
            rows = found.setdefault(shard.shard_id, {})
            decision = Decision(edit["image_id"], edit["phrase"], edit["verdict"])
            rows.setdefault(edit["source_row"], {})[edit["phrase_index"]] = decision
    listed = sorted(
        (shard, row, at, *one) for shard, rows in found.items() for row, of in rows.items() for at, one in of.items()
    )
    return Decided(by_shard=found, digest=hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16])


def _shard_of(edit: dict[str, Any], by_file: dict[str, list[Shard]]) -> Shard | None:
    """The shard that a record lies in; None where the input has no such record."""
    shards = by_file.get(edit["source_file"], [])
    at = bisect_right(shards, edit["source_row"], key=lambda one: one.row_start) - 1
    if at < 0 or edit["source_row"] >= shards[at].row_stop:
        return None
    key = record_key(shards[at], edit["source_row"], edit["phrase_index"])
    return shards[at] if key == edit["record"] else None
