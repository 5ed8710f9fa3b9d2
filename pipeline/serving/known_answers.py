"""Answers that finished runs have given already: same image, phrase, model, rule and budget, read from their records.

An image is found by its perceptual hash, of which 16 bytes a record lie in memory, and is the same one only if the key
that the run gave it, a hash of its id and its bytes, is that of these bytes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.masks import no_mask
from litelvlm.pipeline.review.edits import mask_of
from litelvlm.pipeline.schemas import SHARD_SCHEMA, STATUS_ABSENT, STATUS_EMPTY, STATUS_OK, SUCCESS_NAME
from litelvlm.pipeline.serving.questions import RUN, PhraseAnswer
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.shards.markers import ShardMarker, committed, read_data
from litelvlm.pipeline.stages.decode import image_key
from litelvlm.pipeline.storage.store import Storage

_SHARDS_HELD = 16  # read last
_SHARDS_LOOKED_AT = 32  # at most, for one image: those without contrast share a hash
_INDEX = np.dtype([("hash", np.uint64), ("shard", np.int32), ("row", np.int32)])
_ANSWERED = (STATUS_OK, STATUS_EMPTY, STATUS_ABSENT)
#: Settings on which a mask depends besides rule and budget.
_SAME = ("order", "positions", "layout", "question", "answer", "phrase_case", "resizing")


class KnownAnswers:
    """The records of some finished runs.

    Args:
        runs: their outputs.
        model: how the service asks the model.
        revision: of its model.
        num_visual_tokens: V, from which on a budget prunes nothing.

    Raises:
        ValueError: there is no finished run, or one of another model or other settings: none of it could be served.
        DataError: a run is damaged.
    """

    def __init__(self, runs: Iterable[Storage], model: ModelConfig, *, revision: str, num_visual_tokens: int) -> None:
        self._runs = [_Run(storage, num_visual_tokens) for storage in runs]
        self._num_visual_tokens = num_visual_tokens
        for run in self._runs:
            run.check(model, revision)

    @property
    def num_records(self) -> int:
        """Records that are looked through."""
        return sum(len(run.index) for run in self._runs)

    def find(
        self,
        data: bytes,
        perceptual_hash: str,
        phrases: Sequence[str],
        *,
        num_retain_tokens: int | None,
        rule: str,
    ) -> dict[str, PhraseAnswer]:
        """Answers by phrase, of those phrases, as they enter the prompt, that a run has answered for an image.

        Args:
            data: the image's encoded bytes.
            perceptual_hash: of its pixels.
            phrases: normalised.
            num_retain_tokens: the budget; None is all.
            rule: the pruning rule.
        """
        found: dict[str, PhraseAnswer] = {}
        wanted = _budget(num_retain_tokens, rule, self._num_visual_tokens)
        for run in self._runs:
            if run.asked == wanted:
                found = run.find(data, perceptual_hash, set(phrases) - set(found)) | found
        return found


class _Run:
    def __init__(self, storage: Storage, num_visual_tokens: int) -> None:
        self._storage = storage
        self._saved = claimed_run(storage)
        if not storage.exists(SUCCESS_NAME):
            raise ValueError(f"--run {storage.root}: the run is not finished; run its command again")
        facts = self._saved.facts
        self.asked = _budget(facts["num_retain_tokens"], facts["rule"], num_visual_tokens)
        self._markers = list(committed(storage, ShardMarker))
        self.index = self._indexed()
        self._shards: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, model: ModelConfig, revision: str) -> None:
        """Raises ValueError where no answer of this run could be one of the service's."""
        facts = self._saved.facts
        other = [] if facts["model_revision"] == revision else ["model"]
        other += [name for name in _SAME if facts[name] != getattr(model, name)]
        if other:
            raise ValueError(
                f"--run {self._storage.root}: was made with another {' and '.join(other)} than the service's"
            )
        if model.layout != "separate":
            raise ValueError(f"--run: with --layout {model.layout} an answer depends on all phrases; use separate")

    def _indexed(self) -> NDArray[Any]:
        parts = [np.empty(0, _INDEX)]
        for number, marker in enumerate(self._markers):
            column = read_data(self._storage, marker).column("image_hash").to_pylist()
            rows = [(int(one, 16), number, row) for row, one in enumerate(column) if one is not None]
            parts.append(np.array(rows, _INDEX))
        whole = np.concatenate(parts)
        return whole[np.argsort(whole["hash"], kind="stable")]

    def find(self, data: bytes, perceptual_hash: str, phrases: set[str]) -> dict[str, PhraseAnswer]:
        """Answers to some of these phrases."""
        number, hashes = np.uint64(int(perceptual_hash, 16)), self.index["hash"]
        places = self.index[np.searchsorted(hashes, number, "left") : np.searchsorted(hashes, number, "right")]
        found: dict[str, PhraseAnswer] = {}
        keys: dict[str, str] = {}
        shards = set(np.unique(places["shard"])[:_SHARDS_LOOKED_AT].tolist())
        for shard, row in ((int(one["shard"]), int(one["row"])) for one in places):
            if shard not in shards:
                continue
            record = self._records(shard)[row]
            phrase = record["phrase"].strip().lower()
            if phrase not in phrases or phrase in found or record["status"] not in _ANSWERED:
                continue
            image_id = record["image_id"]
            if image_id not in keys:
                keys[image_id] = image_key(image_id, data)
            if keys[image_id] == record["image_key"]:
                found[phrase] = _answer(record)
        return found

    def _records(self, shard: int) -> list[dict[str, Any]]:
        with self._lock:
            if shard not in self._shards:
                self._shards[shard] = read_data(self._storage, self._markers[shard], SHARD_SCHEMA).to_pylist()
            self._shards.move_to_end(shard)
            while len(self._shards) > _SHARDS_HELD:
                self._shards.popitem(last=False)
            return self._shards[shard]


def _budget(num_retain_tokens: int | None, rule: str, num_visual_tokens: int) -> tuple[int, str]:
    """Rule and budget, alike for all that prune nothing. A budget of all V tokens may still reorder them."""
    if rule == "none" or num_retain_tokens is None or num_retain_tokens > num_visual_tokens:
        return num_visual_tokens + 1, "none"
    return num_retain_tokens, rule


def _answer(record: dict[str, Any]) -> PhraseAnswer:
    size = record["height"], record["width"]
    return PhraseAnswer(
        status=record["status"],
        mask=mask_of(record) if record["mask_rle"] else no_mask(size),
        score=record["score"],
        num_visual_tokens=record["num_visual_tokens"],
        num_retained_tokens=record["num_retained_tokens"],
        source=RUN,
    )
