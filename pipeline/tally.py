"""What a run has done so far, earlier sessions included, and whether too much of it failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from litelvlm.pipeline.shards.markers import ShardMarker

_MAX_REASONS = 1_000  # reasons are free text: their table must not grow with the input


@dataclass(kw_only=True)
class Tally:
    """Records so far, those of earlier sessions included."""

    rows: int = 0
    records: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, marker: ShardMarker) -> None:
        """Count a shard."""
        self.rows += marker.rows
        self.records += marker.records
        self.failed += marker.failed
        self.reasons.update(marker.reasons)
        if len(self.reasons) > 2 * _MAX_REASONS:
            self.reasons = Counter(dict(self.reasons.most_common(_MAX_REASONS)))

    def exceeds(self, rate: float, *, num_rows: int) -> bool:
        """Whether the failed records are too many even if none of the rows that are left fails."""
        expected = self.records / self.rows * num_rows if self.rows else 0.0
        return self.failed > rate * max(expected, self.records)
