"""What annotators did to a run's masks, as a webhook tells it: kept where `review.py ingest` keeps its reviews."""

from __future__ import annotations

import threading
from typing import Any

from litelvlm.pipeline.errors import MISTAKES, StorageError
from litelvlm.pipeline.review.compare import compare
from litelvlm.pipeline.review.edits import add_reviews
from litelvlm.pipeline.review.find_images import RunImages
from litelvlm.pipeline.review.readers.label_studio import read_label_studio
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.storage.store import Storage


class Corrections:
    """Adds reviews of one run, one at a time.

    Args:
        run: output of a finished run.
        reviewed: directory of the reviews; `review.py ingest` and `accept` read and write the same.

    Raises:
        ValueError: there is no run.
    """

    def __init__(self, run: Storage, reviewed: Storage) -> None:
        self._records = RunRecords(run)
        self._reviewed = reviewed
        self._lock = threading.Lock()

    def add(self, task: dict[str, Any]) -> int:
        """Keep the annotations of a task of Label Studio, which is one of the run's images. Returns how many items they
        are about.

        Raises:
            ValueError: the task is none of the run's, or is damaged.
            StorageError: the store fails.
        """
        images = list(read_label_studio([task], "webhook"))
        with self._lock:
            run = RunImages(self._records, images)
            rows = [edit for image in images for edit in compare(image, run.by_key[run.find(image)])]
            try:
                add_reviews(self._reviewed, self._records.saved.fingerprint, rows, "newest")
            except StorageError:
                raise
            except MISTAKES as error:
                raise ValueError(str(error)) from error
        return len(rows)
