"""A project is filled once, and nothing that people did is touched; on a fake of the SDK, no server of CVAT's."""

from __future__ import annotations

import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.export.cvat import Cvat
from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.push import cvat
from litelvlm.pipeline.review.push.cvat import PASSWORD, TOKEN, USER, push
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.drawn import masked_images

CLASSES = (OBJECT, Category(id=2, name="thing"))


class FakeTask:
    def __init__(self, name: str) -> None:
        self.id, self.name, self.size, self.state, self.api = 1, name, 0, "new", self
        self.frames: list[str] = []
        self.shapes: list[Any] = []
        self.is_broken = False

    def upload_data(self, resources: list[Path], *, params: dict[str, Any]) -> None:
        with zipfile.ZipFile(resources[0]) as archive:
            self.frames = sorted(archive.namelist())
        self.size = len(self.frames)

    def get_frames_info(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.frames]

    def get_annotations(self) -> Any:
        return SimpleNamespace(shapes=self.shapes, tracks=[], tags=[])

    def get_jobs(self) -> list[Any]:
        return [SimpleNamespace(state=self.state)]

    def partial_update_annotations(self, action: str, id: int, *, patched_labeled_data_request: Any) -> None:
        assert action == "create"
        if self.is_broken:
            raise ConnectionError
        self.shapes += patched_labeled_data_request.shapes


class FakeServer:
    def __init__(self) -> None:
        self.id, self.name, self.made, self.found = 1, "p", list[Any](), list[FakeTask]()
        self.projects = SimpleNamespace(list=lambda: self.made, create=self.create_project)
        self.tasks = SimpleNamespace(create=self.create_task)

    def create_project(self, spec: Any) -> Any:
        self.made.append(self)
        return self

    def create_task(self, spec: Any) -> FakeTask:
        self.found.append(FakeTask(spec.name))
        return self.found[-1]

    def get_labels(self) -> list[Any]:
        names = ("phrase", "record", "score")
        attributes = [SimpleNamespace(id=number, name=name) for number, name in enumerate(names)]
        return [SimpleNamespace(id=number, name=one.name, attributes=attributes) for number, one in enumerate(CLASSES)]

    def get_tasks(self) -> list[FakeTask]:
        return self.found

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: Any) -> None:
        return None


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    written, found = Cvat(CLASSES, tolerance=0, with_images=True), Storage(str(tmp_path))
    with Files(found) as files:
        written.write("part-00000", masked_images(2), files)
        written.finish(["part-00000"], files)
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    found, any_model = FakeServer(), lambda **given: SimpleNamespace(**given)
    names = ("ProjectWriteRequest", "TaskWriteRequest", "PatchedLabeledDataRequest", "LabeledShapeRequest")
    models = SimpleNamespace(**dict.fromkeys(names, any_model))
    monkeypatch.setattr(cvat, "_sdk", lambda: (lambda *_, **__: found, models, (ConnectionError,)))
    monkeypatch.setenv(TOKEN, "secret")
    return found


def test_again_adds_nothing_whatever_people_left(storage: Storage, server: FakeServer) -> None:
    assert push("http://x", storage, "p", lambda _: None) == Counter(added=1, shapes=8)
    assert server.found[0].frames == ["a/0.png", "a/1.png"]
    assert [one.frame for one in server.found[0].shapes] == [0] * 4 + [1] * 4
    server.found[0].shapes.pop()
    assert push("http://x", storage, "p", lambda _: None)["shapes"] == 0
    server.found[0].shapes.clear()
    server.found[0].state = "in progress"
    assert push("http://x", storage, "p", lambda _: None)["shapes"] == 0, "somebody deleted all of it"


def test_killed_before_its_masks_it_gets_them_later(storage: Storage, server: FakeServer) -> None:
    server.create_task(SimpleNamespace(name="part-00000")).is_broken = True
    with pytest.raises(UsageError, match="CVAT does not take it"):
        push("http://x", storage, "p", lambda _: None)
    server.found[0].is_broken = False
    assert push("http://x", storage, "p", lambda _: None)["shapes"] == 8
    assert len(server.found) == 1


def test_mistakes_are_told_in_one_line(
    storage: Storage, server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "part-00000/images/a/0.png").unlink()
    with pytest.raises(UsageError, match=r"part-00000/images/a/0.png is missing"):
        push("http://x", storage, "p", lambda _: None)
    server.made *= 2
    with pytest.raises(UsageError, match="2 projects are named 'p'"):
        push("http://x", storage, "p", lambda _: None)
    with pytest.raises(UsageError, match="holds no parts"):
        push("http://x", Storage(str(tmp_path / "no")), "p", lambda _: None)
    for name in (TOKEN, USER, PASSWORD):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=f"set {TOKEN}, or {USER} and {PASSWORD}"):
        push("http://x", storage, "p", lambda _: None)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    with pytest.raises(UsageError, match=r"pip install 'litelvlm-annotate\[cvat\]'"):
        push("http://x", storage, "p", lambda _: None)
