"""Referring expressions: every way to name one object of a scene so that it means that object and no other.

An expression is built from predicates over the objects, and it is kept only if exactly one object satisfies it with a
margin: an object near the border of "left of" makes the expression ambiguous, and ambiguous expressions are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from litelvlm.demo.objects import SceneObject

# Fractions of the central square's side by which positions must differ before a phrase may rely on the difference.
MARGIN = 0.08
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
EXTREMES = {"leftmost": (0, -1), "rightmost": (0, 1), "topmost": (1, -1), "bottommost": (1, 1)}
# How often each kind of phrase is asked for. Harder kinds are available in fewer scenes, hence their larger weights.
KIND_WEIGHTS = {"attribute": 0.30, "size": 0.20, "relation": 0.25, "location": 0.25}


@dataclass(frozen=True, kw_only=True)
class DrawnPhrase:
    """A phrase, the index of the one object it refers to, and its kind (a key of `KIND_WEIGHTS`)."""

    text: str
    target: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """A noun phrase: a shape with an optional size and colour."""

    shape: str
    colour: str | None = None
    size: str | None = None

    def text(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.shape) if word)

    def matches(self, item: SceneObject) -> bool:
        return (
            item.shape == self.shape
            and (self.colour is None or item.colour == self.colour)
            and (self.size is None or item.size == self.size)
        )


def _descriptions(item: SceneObject) -> list[Description]:
    """The descriptions of one object, the shortest first."""
    shape, colour, size = item.shape, item.colour, item.size
    return [
        Description(shape=shape),
        Description(shape=shape, colour=colour),
        Description(shape=shape, size=size),
        Description(shape=shape, colour=colour, size=size),
    ]


def _matching(objects: Sequence[SceneObject], description: Description) -> list[int]:
    return [index for index, item in enumerate(objects) if description.matches(item)]


def _plain(objects: Sequence[SceneObject], target: int) -> list[DrawnPhrase]:
    """Expressions by attribute and size alone."""
    found = []
    for description in _descriptions(objects[target]):
        if _matching(objects, description) != [target]:
            continue
        without_size = Description(shape=description.shape, colour=description.colour)
        if description.size and _matching(objects, without_size) == [target]:
            continue  # the size says nothing that the shorter phrase does not
        kind = "size" if description.size else "attribute"
        found.append(DrawnPhrase(text=f"the {description.text()}", target=target, kind=kind))
    return found


def _located(objects: Sequence[SceneObject], target: int) -> list[DrawnPhrase]:
    """Expressions by absolute place: "the leftmost circle"."""
    found = []
    for description in _descriptions(objects[target]):
        rivals = [index for index in _matching(objects, description) if index != target]
        if not rivals:
            continue
        for word, (axis, sign) in EXTREMES.items():
            here = sign * objects[target].centre_xy[axis]
            if all(here - sign * objects[rival].centre_xy[axis] >= MARGIN for rival in rivals):
                found.append(DrawnPhrase(text=f"the {word} {description.text()}", target=target, kind="location"))
    return found


def _anchor_texts(objects: Sequence[SceneObject], anchor: int) -> list[str]:
    """The shortest coloured noun phrase that means the anchor alone, if there is one."""
    names = [d for d in _descriptions(objects[anchor]) if d.colour and _matching(objects, d) == [anchor]]
    return [names[0].text()] if names else []


def holds(relation: str, item: SceneObject, anchor: SceneObject) -> bool | None:
    """Whether a relation holds between two objects; None where one could argue either way."""
    axis, sign = RELATIONS[relation]
    along = sign * (item.centre_xy[axis] - anchor.centre_xy[axis])
    across = abs(item.centre_xy[1 - axis] - anchor.centre_xy[1 - axis])
    if along <= -MARGIN:
        return False
    return True if along >= MARGIN and along >= 0.7 * across else None


def _related(objects: Sequence[SceneObject], target: int) -> list[DrawnPhrase]:
    """Expressions by relation to another object: "the red circle left of the blue square"."""
    found = []
    for description in _descriptions(objects[target])[1:]:
        rivals = [index for index in _matching(objects, description) if index != target]
        if not rivals:
            continue
        for anchor in range(len(objects)):
            if anchor == target or description.matches(objects[anchor]):
                continue
            for relation in RELATIONS:
                if holds(relation, objects[target], objects[anchor]) is not True:
                    continue
                if any(holds(relation, objects[rival], objects[anchor]) is not False for rival in rivals):
                    continue
                for name in _anchor_texts(objects, anchor):
                    text = f"the {description.text()} {relation} the {name}"
                    found.append(DrawnPhrase(text=text, target=target, kind="relation"))
    return found


def list_expressions(objects: Sequence[SceneObject]) -> list[DrawnPhrase]:
    """Every unambiguous expression for every object of a scene, in a fixed order."""
    return [
        expression
        for target in range(len(objects))
        for find in (_plain, _located, _related)
        for expression in find(objects, target)
    ]


def choose_expressions(expressions: Sequence[DrawnPhrase], count: int, rng: np.random.Generator) -> list[DrawnPhrase]:
    """Draw up to `count` different expressions, kinds by `KIND_WEIGHTS`, targets as varied as the expressions allow."""
    left = list(expressions)
    chosen: list[DrawnPhrase] = []
    while left and len(chosen) < count:
        kinds = [kind for kind in KIND_WEIGHTS if any(e.kind == kind for e in left)]
        weights = np.array([KIND_WEIGHTS[kind] for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        of_kind = [e for e in left if e.kind == kind]
        taken = {e.target for e in chosen}
        fresh = [e for e in of_kind if e.target not in taken] or of_kind
        pick = fresh[int(rng.integers(len(fresh)))]
        chosen.append(pick)
        left.remove(pick)
    return chosen
