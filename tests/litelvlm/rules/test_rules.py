"""Rules that look beyond similarity and context, against literal restatements of their definitions in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.config import RULES, PruningConfig
from litelvlm.pruning import select
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import RULE_BOOK
from litelvlm.rules.selection import order_tokens

Kept = tuple[list[int], list[np.ndarray] | None]  # places in the rule's own order; weights of all V patches in each
Row = dict[str, np.ndarray]


def highest(scores: np.ndarray, count: int) -> list[int]:
    """Indices of the `count` highest scores, best first, ties to the lower index."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))  # equal for the pair turned round


def alone(index: int, num_tokens: int) -> np.ndarray:
    weights = np.zeros(num_tokens)
    weights[index] = 1.0
    return weights


def literal_trim(row: Row, budget: int) -> Kept:
    num_tokens, orders = row["context"].size, [highest(scores, scores.size) for scores in row["similarity"]]
    ranked: list[int] = []
    for turn in range(num_tokens):
        ranked += [index for index in sorted({order[turn] for order in orders}) if index not in ranked]
    chosen, rest = sorted(ranked[: budget - 1]), ranked[budget - 1 :]
    mean = sum(alone(index, num_tokens) for index in rest) / len(rest)
    return [*chosen, rest[0]], [*(alone(index, num_tokens) for index in chosen), mean]  # type: ignore[list-item]


def literal_visionzip(row: Row, budget: int) -> Kept:
    attention, keys = row["attention"], row["keys"]
    contextual = budget * 10 // 64
    dominant = sorted(highest(attention, budget - contextual))
    left = [i for i in range(len(attention)) if i not in dominant]
    weights = [alone(index, len(attention)) for index in dominant]
    if contextual == 0:
        return dominant, weights
    targets = left[:: max(1, len(left) // contextual)][:contextual]
    members: dict[int, list[int]] = {target: [] for target in targets}
    for index in left:
        if index not in targets:
            members[max(targets, key=lambda t: (cosine(keys[index], keys[t]), -t))].append(index)
    for target in targets:
        mean = sum(alone(i, len(attention)) for i in members[target]) / max(1, len(members[target]))
        weights.append(alone(target, len(attention)) + mean)
    return dominant + targets, weights


def literal_prumerge(row: Row, budget: int) -> Kept:
    attention, keys = row["last_attention"], row["last_keys"]
    num_tokens = len(attention)
    *chosen, last = highest(attention, budget)
    weights = []
    for index in chosen:
        others = [i for i in range(num_tokens) if i != index]
        near = sorted(others, key=lambda i: (-cosine(keys[index], keys[i]), i))[:32]
        weights.append(alone(index, num_tokens) + sum(attention[i] * alone(i, num_tokens) for i in near))
    weights.append(sum(attention[i] * alone(i, num_tokens) for i in range(num_tokens) if i not in chosen))
    return [*chosen, last], weights


def literal_vispruner(row: Row, budget: int) -> Kept:
    ranked = highest(row["attention"], row["attention"].size)
    important, left = ranked[: budget // 2], ranked[budget // 2 :]
    while len(left) > budget - budget // 2:
        first, second = left[0::2], left[1::2]
        duplicate = [max(cosine(row["patches"][i], row["patches"][j]) for j in second) for i in first]
        gone = min(8, len(left) - (budget - budget // 2), len(first))
        left = [first[place] for place in highest(np.array(duplicate), len(first))[gone:]] + second
    return sorted(important + left), None


def literal_divprune(row: Row, budget: int) -> Kept:
    tokens = row["projected"]
    distance = [[1 - cosine(a, b) for b in tokens] for a in tokens]
    kept: list[int] = []
    for _ in range(budget):
        nearest = [
            float("-inf")
            if i in kept
            else min((distance[i][j] for j in (kept or range(len(tokens))) if j != i), default=0)
            for i in range(len(tokens))
        ]
        kept.append(highest(np.array(nearest), 1)[0])
    return sorted(kept), None


def z_order(num_tokens: int) -> list[int]:
    """Tokens along the curve: quadrant by quadrant, upper left, upper right, lower left, lower right."""
    width = next(side for side in range(1, 99) if side**2 >= num_tokens)

    def walk(top: int, left: int, side: int) -> list[int]:
        if top >= width or left >= width:
            return []
        if side == 1:
            return [top * width + left] if top * width + left < num_tokens else []
        half = side // 2
        return [i for y in (0, half) for x in (0, half) for i in walk(top + y, left + x, half)]

    return walk(0, 0, 128)


def runs(num_tokens: int, count: int) -> list[list[int]]:
    order = z_order(num_tokens)
    return [[i for place, i in enumerate(order) if place * count // num_tokens == run] for run in range(count)]


def literal_payn(row: Row, budget: int) -> Kept:
    order = z_order(row["context"].size)
    return sorted(order[int((run + 0.5) * len(order) / budget)] for run in range(budget)), None


def literal_evtp(row: Row, budget: int) -> Kept:
    tokens = row["patches"]
    width = next(side for side in range(1, 99) if side**2 >= len(tokens))

    def distance(i: int, j: int) -> float:
        squares = (i // width - j // width) ** 2 + (i % width - j % width) ** 2
        return 1 - cosine(tokens[i], tokens[j]) + float(np.sqrt(squares) / np.sqrt(2 * max(width - 1, 1) ** 2))

    table = [[distance(i, j) for j in range(len(tokens))] for i in range(len(tokens))]
    kept = highest(row["context"], 1)
    while len(kept) < budget:
        left = [i for i in range(len(tokens)) if i not in kept]
        kept.append(max(left, key=lambda i: (min(table[i][j] for j in kept), -i)))
    return sorted(kept), None


def literal_csp(row: Row, budget: int) -> Kept:
    attention, patches = row["attention"], row["patches"]
    centres = highest(attention, budget - budget // 2)
    members: dict[int, list[int]] = {centre: [] for centre in centres}
    for index in highest(attention, attention.size):
        if index not in centres:
            members[max(centres, key=lambda c: (cosine(patches[index], patches[c]), -c))].append(index)
    kept = list(centres)
    while len(kept) < budget:
        turn = [cluster.pop(0) for cluster in members.values() if cluster]
        kept += sorted(turn, key=lambda i: (-attention[i], i))[: budget - len(kept)]
    return sorted(kept), None


def literal_altp(row: Row, budget: int) -> Kept:
    patches = row["patches"] / np.linalg.norm(row["patches"], axis=1, keepdims=True)
    quotients = np.zeros(len(patches))
    for region in runs(len(patches), max(1, budget // 4)):
        distinct = np.array(
            [sum(1 - cosine(patches[i], patches[j]) for j in region if j != i) for i in sorted(region)], dtype=float
        )
        for number, place in enumerate(highest(distinct, len(region))):
            quotients[sorted(region)[place]] = distinct.sum() / (number + 1) if number else np.inf
    return sorted(highest(quotients, budget)), None


def literal_nuwa(row: Row, budget: int) -> Kept:
    attention, anchors = row["attention"], {}
    for part in runs(attention.size, budget):
        anchor = min(part, key=lambda i: (-attention[i], i))
        anchors[anchor] = sum(attention[i] * alone(i, attention.size) for i in part) / attention[part].sum()
    return sorted(anchors), [anchors[place] for place in sorted(anchors)]


LITERAL = {
    "payn": literal_payn,
    "evtp": literal_evtp,
    "csp": literal_csp,
    "altp": literal_altp,
    "nuwa": literal_nuwa,
    "trim": literal_trim,
    "visionzip": literal_visionzip,
    "prumerge": literal_prumerge,
    "vispruner": literal_vispruner,
    "divprune": literal_divprune,
}


def vectors(rng: np.random.Generator, rows: int, num_tokens: int, *, ties: bool) -> np.ndarray:
    """Features: at random, or unit vectors many of which are the same, so that cosines are 0 and 1 exactly."""
    if ties:
        return np.eye(6)[rng.integers(0, 6, (rows, num_tokens))]
    return rng.normal(size=(rows, num_tokens, 6))


def evidence_of(rng: np.random.Generator, rows: int, num_tokens: int, phrases: int, *, ties: bool = False) -> Row:
    levels = 3 if ties else 10**9  # few levels make ties
    scores = {
        name: rng.integers(1, levels, (rows, num_tokens)) / levels
        for name in ("context", "attention", "last_attention")
    }
    features = {
        name: vectors(rng, rows, num_tokens, ties=ties) for name in ("keys", "last_keys", "patches", "projected")
    }
    return {**scores, **features, "similarity": rng.integers(0, levels, (rows, phrases, num_tokens)) / levels}


def as_evidence(values: Row, counts: list[int]) -> Evidence:
    tensors = {name: torch.from_numpy(value) for name, value in values.items()}
    mask = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
    return Evidence(**tensors, phrase_mask=mask, seeds=list(range(len(counts))))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("rule", sorted(LITERAL))
def test_rules_equal_their_definitions(rule: Any, data: Any) -> None:
    num_tokens = data.draw(st.integers(1, 64), label="V")
    budget = data.draw(st.integers(1, num_tokens), label="R")
    counts = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3), label="phrases")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    values = evidence_of(rng, len(counts), num_tokens, max(counts), ties=data.draw(st.booleans(), label="ties"))
    evidence = as_evidence(values, counts)
    selection = select(evidence, PruningConfig(num_retain_tokens=budget, rule=rule))
    order = order_tokens(selection, evidence.context, release_order=False, own_order=True)
    for row, count in enumerate(counts):
        own = {name: value[row] for name, value in values.items()} | {"similarity": values["similarity"][row, :count]}
        places, weights = LITERAL[rule](own, budget)
        assert order[row].tolist() == places
        if RULE_BOOK[rule].merges and selection.merge is not None:
            np.testing.assert_allclose(selection.merge[row, order[row]], weights, rtol=1e-9, atol=1e-12)
        else:
            assert weights is None or np.array_equal(weights, np.eye(num_tokens)[places])


DECIDED_BEFORE = [rule for rule in RULES if rule not in ("none", "fastv")]


@pytest.mark.parametrize("rule", DECIDED_BEFORE)
@pytest.mark.parametrize("budget", [1, 2, 7, 24, 63, 64])
@pytest.mark.parametrize("ties", [False, True])
def test_every_budget_keeps_exactly_that_many(rule: Any, budget: int, ties: bool) -> None:
    evidence = as_evidence(evidence_of(np.random.default_rng(budget), 3, 64, 4, ties=ties), [4, 1, 2])
    selection = select(evidence, PruningConfig(num_retain_tokens=budget, rule=rule))
    assert selection.kept.sum(-1).tolist() == [budget] * 3 == [selection.budget] * 3
    assert not (selection.by_similarity & ~selection.kept).any()
    for orders in ({"release_order": True}, {"release_order": False}, {"release_order": False, "own_order": True}):
        order = order_tokens(selection, evidence.context, **orders)
        for row in range(3):
            assert sorted(order[row].tolist()) == torch.nonzero(selection.kept[row]).flatten().tolist()


@pytest.mark.parametrize("rule", DECIDED_BEFORE)
def test_a_row_does_not_depend_on_its_batch_and_nothing_is_drawn_anew(rule: Any) -> None:
    values = evidence_of(np.random.default_rng(0), 5, 70, 3)
    counts, pruning = [3, 1, 2, 3, 1], PruningConfig(num_retain_tokens=23, rule=rule)
    batched, again = (select(as_evidence(values, counts), pruning) for _ in range(2))
    assert torch.equal(batched.kept, again.kept)
    for row in range(5):
        own = as_evidence({name: value[row : row + 1] for name, value in values.items()}, counts[row : row + 1])
        if max(counts) > counts[row]:
            own = as_evidence(
                {name: value[row : row + 1] for name, value in values.items()}
                | {"similarity": values["similarity"][row : row + 1, : counts[row]]},
                counts[row : row + 1],
            )
        own = Evidence(**{**vars(own), "seeds": [row]})
        found = select(own, pruning)
        assert torch.equal(found.kept[0], batched.kept[row])
        if batched.merge is not None:
            torch.testing.assert_close(found.merge[0], batched.merge[row])


def test_fastv_is_not_decided_from_evidence() -> None:
    with pytest.raises(ValueError, match="inside the language model"):
        select(Evidence(context=torch.rand(1, 9)), PruningConfig(num_retain_tokens=3, rule="fastv"))


@pytest.mark.parametrize("rule", DECIDED_BEFORE)
def test_no_rule_reads_a_value_back_from_the_device(rule: Any) -> None:
    """On `meta` there are no values: whatever would make the host wait for a device raises."""
    values = evidence_of(np.random.default_rng(0), 3, 64, 4)
    known = as_evidence(values, [4, 1, 2])
    tensors = {name: value.to("meta") for name, value in vars(known).items() if isinstance(value, torch.Tensor)}
    evidence = Evidence(**{**vars(known), **tensors})
    selection = select(evidence, PruningConfig(num_retain_tokens=24, rule=rule))
    order = order_tokens(selection, evidence.context, release_order=False, own_order=True)
    assert (selection.kept.shape, order.shape, order.device.type) == ((3, 64), (3, 24), "meta")
