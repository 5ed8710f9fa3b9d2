"""What another run says of a run's records, from the `compare.parquet` of `jobs/compare.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from litelvlm.pipeline.contracts import Contract
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.review.record_places import RecordPlaces
from litelvlm.pipeline.schemas import COMPARISON_NAME
from litelvlm.pipeline.storage.store import Storage

_ABOUT = b"litelvlm.comparison"


@dataclass(frozen=True, kw_only=True)
class ComparedRuns(Contract):
    """What a comparison is of, kept in the metadata of its table.

    Attributes:
        a, b: fingerprints of the two runs.
        agree_iou: masks that overlap less disagree.
    """

    a: str
    b: str
    agree_iou: float

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """For the table's schema."""
        return {_ABOUT: self.to_json()}


class SecondOpinion:
    """The answers of the other run of a comparison. 25 bytes a record.

    `path` is the --output of `jobs/compare.py`, `run` the fingerprint of the run that is to be reviewed, which may be
    either of the two.

    Raises:
        ValueError: there is no comparison, or none of this run that this version can read.
    """

    def __init__(self, path: str, options: dict[str, Any], run: str) -> None:
        try:
            with Storage(path, options).open_read(COMPARISON_NAME) as stream:
                parquet = pq.ParquetFile(stream)
                about = parquet.schema_arrow.metadata or {}
                compared = ComparedRuns.from_json(about.get(_ABOUT, b""), COMPARISON_NAME)
                self._places = RecordPlaces(table.column("record") for table in _groups(parquet, "record"))
                answers = [(_iou(table), _disagrees(table)) for table in _groups(parquet, "iou", "agrees")]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(f"--compare {path}: there is no {COMPARISON_NAME}; `jobs/compare.py` writes it") from error
        except (pa.ArrowException, KeyError, DataError) as error:
            raise ValueError(f"--compare {path}: {COMPARISON_NAME} cannot be read ({error}); make it again") from error
        if run not in (compared.a, compared.b):
            raise ValueError(f"--compare {path}: compares other runs, not this one; make one of it")
        self.other = compared.b if run == compared.a else compared.a
        self.agree_iou = compared.agree_iou
        self._iou = np.concatenate([np.empty(0), *(iou for iou, _ in answers)])
        self._disagrees = np.concatenate([np.empty(0, bool), *(disagrees for _, disagrees in answers)])

    def of(self, records: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """For N keys of records the IoU with the other run's answer, (N,), NaN where there is none to compare with, and
        whether the two disagree, (N,) bool."""
        places = self._places.find(records)
        known = places >= 0
        iou, disagrees = np.full(len(places), np.nan), np.zeros(len(places), bool)
        iou[known], disagrees[known] = self._iou[places[known]], self._disagrees[places[known]]
        return iou, disagrees


def _groups(parquet: pq.ParquetFile, *columns: str) -> Iterator[pa.Table]:
    for group in range(parquet.num_row_groups):
        yield parquet.read_row_group(group, list(columns), use_threads=False)


def _iou(table: pa.Table) -> NDArray[np.float64]:
    return table.column("iou").to_numpy()


def _disagrees(table: pa.Table) -> NDArray[np.bool_]:
    return ~table.column("agrees").combine_chunks().fill_null(True).to_numpy(zero_copy_only=False)
