"""What Label Studio would take without a word is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from litelvlm.pipeline.review.formats.label_studio_checks import check_task
from litelvlm.pipeline.review.formats.label_studio_tasks import task_of
from tests.review_tools.drawn import masked_images

Change = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None]


def _set(where: int, name: str, value: Any) -> Change:
    return lambda *parts: parts[where].__setitem__(name, value)


CHANGES: dict[str, tuple[Change, str]] = {
    "label": (lambda _t, _p, region: region["value"].update(brushlabels=["other"]), "its label is none"),
    "no label": (lambda _t, _p, region: region["value"].update(brushlabels=[]), "its label is none"),
    "control": (_set(2, "from_name", "tag"), "its control is not"),
    "kind": (_set(2, "type", "rectanglelabels"), "its control is not"),
    "score": (_set(2, "score", 1.5), "its score must be a number in"),
    "nan": (_set(1, "score", float("nan")), "its score must be a number in"),
    "no score": (_set(2, "score", None), "its score must be a number in"),
    "size": (_set(2, "original_width", 160), "another size than 120x161"),
    "turned": (_set(2, "image_rotation", 90), "or is turned"),
    "id": (_set(2, "id", "9-x"), "its id is no record"),
    "pixels": (lambda _t, _p, region: region["value"].update(rle=region["value"]["rle"][:9]), "brush: it ends"),
    "twice": (lambda _t, found, region: found["result"].append(region), "two regions have the same id"),
    "choice": (lambda task, _p, _r: task["data"]["asked"].pop(), "its choices are not those"),
    "record": (lambda task, _p, _r: task["data"]["records"].append(task["data"]["records"][0]), "stands there twice"),
}


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    return task_of(masked_images(1)[0], ["object", "thing"], bitmask=False, model_version="m")


@pytest.mark.parametrize("name", CHANGES)
def test_a_task_that_contradicts_itself_is_refused(good: dict[str, Any], name: str) -> None:
    task = copy.deepcopy(good)
    change, message = CHANGES[name]
    change(task, task["predictions"][0], task["predictions"][0]["result"][0])
    with pytest.raises(ValueError, match=message) as caught:
        check_task(task)
    assert "'a/0.png'" in str(caught.value)


def test_what_is_written_is_taken(good: dict[str, Any]) -> None:
    check_task(good)
    check_task(task_of(masked_images(1)[0], ["object", "thing"], bitmask=True, model_version="m"))
