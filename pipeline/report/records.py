"""What a report says of the records: scores, the best and worst of them, failures by reason.

Records are streamed, a row group at a time, first without their masks; only the few that are shown are read in full.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from litelvlm.pipeline.report import words
from litelvlm.pipeline.report.phrase_scores import PhraseScores
from litelvlm.pipeline.schemas import ERRORS_NAME, RECORDS_DIR, STATUS_OK
from litelvlm.pipeline.storage.store import Storage

SCORE_BINS = 20
_CANDIDATES = 4  # times as many as are shown: several may be of one image
_MAX_REASONS = 1_000
_PICK_COLUMNS = (
    "file_name",
    "image_id",
    "phrase",
    "score",
    "height",
    "width",
    "mask_rle",
    "source_file",
    "source_row",
    "phrase_index",
)


@dataclass(frozen=True, kw_only=True)
class PickedRecord:
    """A record to be shown, with what its mask is to be drawn on."""

    file_name: str
    image_id: str
    phrase: str
    score: float
    size_hw: tuple[int, int]
    mask_rle: str
    source_file: str
    source_row: int
    phrase_index: int


@dataclass(kw_only=True)
class ScoreFacts:
    """The scores of the records with a mask: how they are distributed, and the ends of the distribution."""

    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SCORE_BINS, dtype=np.int64))
    unscored: int = 0
    total: float = 0.0
    best: list[PickedRecord] = field(default_factory=list)
    worst: list[PickedRecord] = field(default_factory=list)
    phrases: PhraseScores = field(default_factory=PhraseScores)
    sampled_from: int | None = None  # number of shards, where only some of them were looked at

    @property
    def scored(self) -> int:
        """How many records have a score."""
        return int(self.bins.sum())

    @property
    def below_half(self) -> int:
        """How many of them are below 0.5."""
        return int(self.bins[: SCORE_BINS // 2].sum())

    @property
    def mean(self) -> float | None:
        """Mean score, None without any."""
        return self.total / self.scored if self.scored else None


@dataclass(frozen=True, order=True)
class _Place:
    """A record's rank and where it stands: file, row group, row within it."""

    rank: float
    file: int
    group: int
    row: int


@dataclass(kw_only=True)
class Reasons:
    """Failed records counted by reason, without the paths and numbers in it; an example of each as it is."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, amount: int = 1) -> None:
        """Count a reason. Reasons are free text: only the most frequent are kept."""
        key = words.pattern(reason)
        self.counts[key] += amount
        self.examples.setdefault(key, reason)
        if len(self.counts) > 2 * _MAX_REASONS:
            self.counts = Counter(dict(self.counts.most_common(_MAX_REASONS)))
            self.examples = {kept: self.examples[kept] for kept in self.counts}


def record_parts(storage: Storage) -> list[str]:
    """Names of the merged records' files; empty while a run has not been merged."""
    return [name for name in storage.list(RECORDS_DIR) if name.endswith(".parquet")]


def score_facts(storage: Storage, names: Sequence[str], *, shown: int) -> ScoreFacts:
    """Stream the records in these files. `shown` records are picked from each end, of different images."""
    facts = ScoreFacts()
    lowest, highest = _Ranking(shown * _CANDIDATES), _Ranking(shown * _CANDIDATES)
    for file, name in enumerate(names):
        with storage.open_read(name) as stream:
            parquet = pq.ParquetFile(stream)
            for group in range(parquet.metadata.num_row_groups):
                table = parquet.read_row_group(group, columns=["status", "score", "phrase"], use_threads=False)
                ok = table.column("status").to_numpy(zero_copy_only=False) == STATUS_OK
                scores = table.column("score").to_numpy(zero_copy_only=False).astype(np.float64)
                rows = np.flatnonzero(ok & np.isfinite(scores))
                facts.unscored += int(ok.sum()) - len(rows)
                facts.total += float(scores[rows].sum())
                facts.bins += np.histogram(np.clip(scores[rows], 0, 1), bins=SCORE_BINS, range=(0, 1))[0]
                facts.phrases.add(table.column("phrase"), scores, rows)
                lowest.add(scores[rows], file, group, rows)
                highest.add(-scores[rows], file, group, rows)
    picks = _read_picks(storage, names, {*lowest.places, *highest.places})
    facts.worst = _distinct([picks[place] for place in sorted(lowest.places)], shown)
    taken = {(pick.source_file, pick.source_row) for pick in facts.worst}
    facts.best = _distinct([picks[place] for place in sorted(highest.places)], shown, without=taken)
    return facts


def reasons_of_errors(storage: Storage) -> Reasons:
    """Count what `errors.parquet` holds. Raises FileNotFoundError where there is none."""
    reasons = Reasons()
    with storage.open_read(ERRORS_NAME) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=["error"], use_threads=False):
            for reason, amount in Counter(batch.column("error").to_pylist()).items():
                reasons.add(reason, amount)
    return reasons


class _Ranking:
    """The places of the `size` lowest ranks; of equal ones the first in the input."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.places: list[_Place] = []

    def add(self, ranks: NDArray[np.float64], file: int, group: int, rows: NDArray[np.intp]) -> None:
        order = np.argsort(ranks, kind="stable")[: self._size]
        found = [_Place(float(ranks[at]), file, group, int(rows[at])) for at in order]
        self.places = heapq.nsmallest(self._size, [*self.places, *found])


def _read_picks(storage: Storage, names: Sequence[str], places: set[_Place]) -> dict[_Place, PickedRecord]:
    picks: dict[_Place, PickedRecord] = {}
    for file in sorted({place.file for place in places}):
        with storage.open_read(names[file]) as stream:
            parquet = pq.ParquetFile(stream)
            for group in sorted({place.group for place in places if place.file == file}):
                wanted = [place for place in places if (place.file, place.group) == (file, group)]
                table = parquet.read_row_group(group, columns=list(_PICK_COLUMNS), use_threads=False)
                for place in wanted:
                    picks[place] = _pick(table.slice(place.row, 1).to_pylist()[0])
    return picks


def _pick(record: dict[str, Any]) -> PickedRecord:
    same = {name: record[name] for name in _PICK_COLUMNS if name not in ("height", "width")}
    return PickedRecord(size_hw=(record["height"], record["width"]), **same)


def _distinct(picks: list[PickedRecord], shown: int, without: set[tuple[str, int]] | None = None) -> list[PickedRecord]:
    """The first `shown` picks of different images."""
    seen = set(without or ())
    chosen: list[PickedRecord] = []
    for pick in picks:
        key = (pick.source_file, pick.source_row)
        if key not in seen and len(chosen) < shown:
            seen.add(key)
            chosen.append(pick)
    return chosen
