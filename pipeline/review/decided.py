"""What reviewers have decided, for a second run over the same input that leaves it alone."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from litelvlm.pipeline.review.edits import ABSENT, ADDED, EDITED, UNCHANGED, read_all_edits
from litelvlm.pipeline.shards.manifest import Shard, record_key

#: Verdicts that leave nothing to do. What was rejected, or not seen, is asked again.
DECIDED = (UNCHANGED, EDITED, ABSENT, ADDED)
Phrases = dict[int, dict[int, str]]  # row of a file -> position of a phrase in it -> verdict


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Phrases that need no answer, by shard.

    Attributes:
        by_shard: id of a shard -> its rows.
        digest: of all of them; empty where there is none.
    """

    by_shard: dict[str, Phrases] = field(default_factory=dict)
    digest: str = ""

    @property
    def num_phrases(self) -> int:
        """How many there are."""
        return sum(len(phrases) for rows in self.by_shard.values() for phrases in rows.values())


def read_decided(paths: Sequence[str], options: dict[str, Any], shards: Sequence[Shard]) -> Decided:
    """The phrases of a plan that reviewers have decided, of `edits.parquet` in each path.

    Raises:
        ValueError: a path holds no reviews, or none of a record of this input.
    """
    by_file: dict[str, list[Shard]] = defaultdict(list)
    for shard in shards:  # in the order of rows within a file
        by_file[shard.file].append(shard)
    found: dict[str, Phrases] = {}
    for path in paths:
        edits = [edit for edit in read_all_edits(path, options) if edit["record"] and edit["verdict"] in DECIDED]
        placed = [(shard, edit) for edit in edits if (shard := _shard_of(edit, by_file)) is not None]
        if not placed:
            raise ValueError(f"--skip-reviewed {path}: holds no decided record of this input")
        for shard, edit in placed:
            rows = found.setdefault(shard.shard_id, {})
            rows.setdefault(edit["source_row"], {})[edit["phrase_index"]] = edit["verdict"]
    listed = sorted(
        (shard, row, *one) for shard, rows in found.items() for row, of in rows.items() for one in of.items()
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
