"""What is certified, of populations with known errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.pipeline.review.certify import certify, is_error
from litelvlm.pipeline.review.config import AcceptConfig
from litelvlm.pipeline.review.draw import draw
from litelvlm.pipeline.review.population import Population, stratum_hash
from litelvlm.pipeline.review.queue_table import QUEUE_SCHEMA, Queue, QueueFacts
from tests.pipeline.review.test_edits import edit

NAMES = ("common", "rare")


class World:
    """2,000 masks of two strata, one rare, with errors by score; a queue of them and its reviews."""

    def __init__(self, seed: int = 0, *, rare_is_bad: bool = False, budget: int = 600) -> None:
        rng = np.random.default_rng(seed)
        kinds = (rng.random(2000) < 0.05).astype(int)
        score = rng.random(2000).astype(np.float32)
        chance = np.where(score > 0.4, 0.005, 0.4)
        self.wrong = rng.random(2000) < (np.where(kinds == 1, 0.9, chance) if rare_is_bad else chance)
        self.kinds = kinds
        yes = np.ones(2000, bool)
        self.population = Population(
            rows=np.arange(2000), score=score, risk=1 - score, is_answer=yes, is_mask=yes, num_left_out=0,
            stratum=np.array([stratum_hash(NAMES[kind]) for kind in kinds], np.uint64),
        )  # fmt: skip
        drawn = draw(self.population, budget, 0.8, seed)
        rows = [
            dict.fromkeys(QUEUE_SCHEMA.names, "") | {
                "position": at, "record": str(place), "phrase_index": 0, "score": score[place], "risk": 0.0,
                "part": "random" if drawn.is_random[at] else "targeted", "is_base": bool(drawn.is_base[at]),
                "stratum": NAMES[kinds[place]], "inclusion_probability": drawn.probability[at], "height": 1, "width": 1,
                "source_row": 0, "other_iou": None,
            }
            for at, place in enumerate(drawn.index.tolist())
        ]  # fmt: skip
        sizes = {name: int((kinds == at).sum()) for at, name in enumerate(NAMES)}
        facts = QueueFacts(run="r", seed=seed, where=None, strata="category", random_share=0.8, num_records=2000,
                           num_answers=2000, strata_sizes=sizes)  # fmt: skip
        self.queue = Queue(items=pa.Table.from_pylist(rows, schema=QUEUE_SCHEMA), facts=facts)
        self.edits = [
            edit("rejected" if self.wrong[place] else "unchanged", record=str(place)) for place in drawn.index.tolist()
        ]

    def certify(self, edits: list[dict[str, Any]] | None = None, *, queue: bool = True, **settings: Any) -> Any:
        config = AcceptConfig(run="r", reviewed=("x",), output="a", **settings)
        edits = self.edits if edits is None else edits
        places = {str(at): at for at in range(2000)}
        return certify(self.population, places, self.queue if queue else None, edits, config)


@pytest.mark.parametrize(
    ("verdict", "iou", "wrong"),
    [("unchanged", 1.0, False), ("edited", 0.9, False), ("edited", 0.7, True), ("rejected", 0.0, True),
     ("absent", 0.0, True)],
)  # fmt: skip
def test_an_error_is_a_mask_that_had_to_be_another(verdict: str, iou: float, wrong: bool) -> None:
    assert is_error(edit(verdict, iou=iou), 0.8) is wrong


def test_what_is_accepted_is_unreviewed_and_as_good_as_stated() -> None:
    world = World()
    verdict = world.certify()
    certificate = verdict.certificate
    reviewed = [int(one["record"]) for one in world.edits]
    assert certificate["num_accepted"] == verdict.is_accepted.sum() > 500
    assert not verdict.is_accepted[reviewed].any()
    assert world.wrong[verdict.is_accepted].mean() <= 0.05
    assert sum(one["num_accepted"] for one in certificate["strata"].values()) == certificate["num_accepted"]
    assert certificate["accepted"]["error_rate_bound"] <= 0.05
    assert certificate["accepted_share"] == (world.population.score >= certificate["accepted"]["threshold"]).mean()
    low, rate, high = (certificate["sample"][f"error_rate{end}"] for end in ("_low", "", "_high"))
    assert low < rate < high
    assert low < world.wrong.mean() < high


def test_a_bad_stratum_is_named_and_can_be_kept_out() -> None:
    world = World(rare_is_bad=True, budget=1200)
    overall, each = world.certify(max_error=0.2), world.certify(max_error=0.2, each_stratum=True)
    assert any(one.startswith("rare: of the ") for one in overall.certificate["remarks"])
    assert each.certificate["strata"]["rare"]["num_accepted"] == 0
    assert each.certificate["strata"]["common"]["num_accepted"] > 100
    assert not each.is_accepted[world.kinds == 1].any()


def test_random_items_that_nobody_saw_count_as_errors_unless_left_out() -> None:
    world = World()
    edits = [edit("unseen", record=one["record"]) if at % 5 == 0 else one for at, one in enumerate(world.edits)]
    strict, lenient = world.certify(edits), world.certify(edits, unseen="left-out")
    assert strict.certificate["num_accepted"] == 0 < lenient.certificate["num_accepted"]
    assert "count as errors" in strict.certificate["remarks"][0]
    assert "are left out" in lenient.certificate["remarks"][0]


def test_targeted_reviews_are_no_evidence() -> None:
    """Only items of the random part make the estimate, however many others are reviewed."""
    world = World()
    random = set(world.queue.items.filter(pa.array(world.queue.items.column("is_base").to_pylist()))
                 .column("record").to_pylist())  # fmt: skip
    assert world.certify().certificate["sample"]["num_sampled"] == len(random)
    without = world.certify([one for one in world.edits if one["record"] in random], unseen="left-out")
    assert without.certificate["sample"] == world.certify(unseen="left-out").certificate["sample"] | {
        "num_unseen": without.certificate["sample"]["num_unseen"]
    }


def test_without_a_queue_nothing_is_accepted() -> None:
    certificate = World().certify(queue=False).certificate
    assert certificate["num_accepted"] == 0
    assert "Without --queue" in certificate["remarks"][0]


def test_the_conformal_set_is_stated_as_an_average() -> None:
    certificate = World().certify(method="conformal").certificate
    assert certificate["num_accepted"] > 500
    assert certificate["confidence"] is None
    assert "average" in certificate["holds"]
