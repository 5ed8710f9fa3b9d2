"""Everything of a run that can be reviewed, some bytes a record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from litelvlm.pipeline.review.risk import SIGNALS, risk, risk_beside
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.second_opinion import SecondOpinion
from litelvlm.pipeline.review.where import Where
from litelvlm.pipeline.schemas import STATUS_DROPPED, STATUS_FAILED, STATUS_OK

STRATA = ("category", "phrase", "none")
NO_CLASS = "(none)"  # name of the stratum of records without a category


@dataclass(frozen=True, kw_only=True)
class Population:
    """N records that a person can judge, in the order of the input.

    Attributes:
        rows: (N,) int64, their places among all records of the run.
        score: (N,) float32, NaN where there is none.
        risk: (N,) float32.
        is_answer: (N,) bool: the model said something, a mask or that there is nothing; the others failed.
        is_mask: (N,) bool.
        stratum: (N,) uint64, hashes of the names of their strata.
        num_left_out: records that nobody can judge: those of images that cannot be decoded, and dropped ones.
    """

    rows: NDArray[np.int64]
    score: NDArray[np.float32]
    risk: NDArray[np.float32]
    is_answer: NDArray[np.bool_]
    is_mask: NDArray[np.bool_]
    stratum: NDArray[np.uint64]
    num_left_out: int

    def __len__(self) -> int:
        return len(self.rows)


def read_population(records: RunRecords, where: Where, strata: str, second: SecondOpinion | None = None) -> Population:
    """The records for which a condition holds, of which people can judge. About 30 bytes each.

    With a second opinion the risk is `risk_beside`.

    Raises:
        ValueError: the condition does not hold together with the records.
        DataError: the run is damaged.
    """
    parts = list(_parts(records, where, strata, second))
    kinds = (np.int64, np.float32, np.float32, bool, bool, np.uint64)
    joined = [
        np.concatenate([part[at] for part in parts]) if parts else np.empty(0, kind) for at, kind in enumerate(kinds)
    ]
    rows, score, risks, is_answer, is_mask, stratum = joined
    return Population(
        rows=rows,
        score=score,
        risk=risks,
        is_answer=is_answer,
        is_mask=is_mask,
        stratum=stratum,
        num_left_out=sum(part[6] for part in parts),
    )


def stratum_hash(name: str | None) -> int:
    """Of a stratum's name; None is that of records without a category."""
    return int.from_bytes(hashlib.blake2b((name or NO_CLASS).encode(), digest_size=8).digest(), "big")


def _parts(records: RunRecords, where: Where, strata: str, second: SecondOpinion | None) -> Iterator[tuple[Any, ...]]:
    named = () if strata == "none" else (strata,)
    keys = () if second is None else ("record",)
    columns = list(dict.fromkeys([*SIGNALS, "score", "status", "height", *named, *keys, *where.columns]))
    start = 0
    for table in records.tables(columns):
        status = table.column("status").combine_chunks()
        can_be_seen = pc.and_(pc.not_equal(status, STATUS_DROPPED), pc.is_valid(table.column("height")))
        holds = where.holds(table)
        kept = holds & _bool(can_be_seen)
        table = table.filter(pa.array(kept))
        status = table.column("status")
        failed = _bool(pc.equal(status, STATUS_FAILED))
        own = np.where(failed, 1.0, risk({name: _float(table.column(name)) for name in SIGNALS}))
        risks = own if second is None else risk_beside(own, *second.of(table.column("record")))
        yield (
            start + np.flatnonzero(kept),
            _float(table.column("score")).astype(np.float32),
            risks.astype(np.float32),
            ~failed,
            _bool(pc.equal(status, STATUS_OK)),
            _stratum(table.column(strata)) if named else np.zeros(table.num_rows, np.uint64),
            int(holds.sum() - kept.sum()),
        )
        start += len(holds)


def _stratum(names: pa.ChunkedArray) -> NDArray[np.uint64]:
    encoded = names.combine_chunks().fill_null(NO_CLASS).dictionary_encode()
    hashes = np.array([stratum_hash(name) for name in encoded.dictionary.to_pylist()], np.uint64)
    return hashes[encoded.indices.to_numpy()] if len(hashes) else np.empty(0, np.uint64)


def _bool(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(
        values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy(), bool
    )


def _float(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return pc.cast(values, pa.float64()).to_numpy()
