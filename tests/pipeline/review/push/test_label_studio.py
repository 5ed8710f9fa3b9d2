"""What is missing is added once, in whatever state a project is; the real server is in tests/review_tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.formats.label_studio import LabelStudio
from litelvlm.pipeline.review.push import label_studio
from litelvlm.pipeline.review.push.label_studio import KEY, item_of, push, read_tasks
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.drawn import masked_images

CLASSES = (OBJECT, Category(id=2, name="thing"))


class FakeClient:
    """Projects in memory. `breaks_after`: requests that are done before the server is gone."""

    def __init__(self, breaks_after: int = 1000) -> None:
        self.made: list[Any] = []
        self.found: list[Any] = []
        self.left = breaks_after
        self.names: list[str] = []
        self.refuses = False
        self.uploads: dict[int, bytes] = {}
        self.files = SimpleNamespace(list=self._uploaded, get=lambda id: self._uploaded()[id])
        self._client_wrapper = SimpleNamespace(httpx_client=SimpleNamespace(request=self._request))
        self.projects = self.tasks = self.predictions = self

    def list(self, **asked: Any) -> list[Any]:
        return self.found if "project" in asked else self.made

    def create(self, **given: Any) -> Any:
        if "task" in given:
            self.found[given["task"]].total_predictions = 1
            return None
        interface = given.get("label_config", "")
        controls: dict[str, Any] = {name: {} for name in ("brush", "phrase", "verdict", "absent") if name in interface}
        self.made.append(SimpleNamespace(id=7 if interface else 8, title=given["title"], parsed_label_config=controls))
        return self.made[-1]

    def get(self, id: int) -> Any:
        return self.made[0]

    def _uploaded(self, *_: Any, **__: Any) -> Any:
        return [SimpleNamespace(file=f"upload/8/0123abcd-{name}") for name in self.names]

    def _request(self, path: str, *, files: dict[str, tuple[str, bytes]], **asked: Any) -> Any:
        assert (path, asked["method"]) == ("api/projects/8/import", "POST")
        assert asked["params"] == {"commit_to_project": "false"}, "an upload is no task"
        name, data = files["file"]
        self.uploads[len(self.names)] = data
        self.names.append(name)
        if self.refuses:
            return SimpleNamespace(status_code=413, text="too large")
        return SimpleNamespace(status_code=201, json=lambda: {"file_upload_ids": [len(self.names) - 1]})

    def import_tasks(self, id: int, *, request: Sequence[Any], request_options: dict[str, Any]) -> None:
        assert request_options["max_retries"] == 0
        self.left -= 1
        if self.left < 0:
            raise ConnectionError
        self.found += [
            SimpleNamespace(id=len(self.found) + place, data=one["data"], total_predictions=len(one["predictions"]))
            for place, one in enumerate(request)
        ]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    written, found = LabelStudio(CLASSES), Storage(str(tmp_path / "out"))
    with Files(found) as files:
        written.write("a", masked_images(5), files)
        written.finish(["a"], files)
    return found


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    found = FakeClient()

    class Refused(Exception):
        status_code, body = 401, {"detail": "no", "exc_info": "secret"}

    errors = SimpleNamespace(ApiError=Refused)
    sdk = SimpleNamespace(LabelStudio=lambda **_: found, core=SimpleNamespace(api_error=errors))
    monkeypatch.setattr(label_studio, "_sdk", lambda: sdk)
    monkeypatch.setattr(label_studio, "_connection_errors", lambda: (ConnectionError,))
    monkeypatch.setenv(KEY, "secret-key")
    return found


def test_running_it_again_adds_nothing_and_completes_what_was_lost(storage: Storage, client: FakeClient) -> None:
    assert push("http://x", storage, "p", lambda _: None)["added"] == 5
    client.found[2].total_predictions = 0
    assert push("http://x", storage, "p", lambda _: None) == {"present": 5, "completed": 1}
    assert len(client.found) == 5
    assert client.found[2].total_predictions == 1


def test_killed_on_the_way_each_task_is_there_once(
    storage: Storage, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "_BATCH_TASKS", 2)
    client.left = 1
    with pytest.raises(UsageError, match="no answer from Label Studio"):
        push("http://x", storage, "p", lambda _: None)
    assert len(client.found) == 2
    client.left = 1000
    lines: list[str] = []
    assert push("http://x", storage, "p", lines.append)["added"] == 3
    assert sorted(item_of(one.data) for one in client.found) == [item_of(one["data"]) for one in read_tasks(storage)]
    assert "secret-key" not in "".join(lines)


def test_a_task_of_other_records_is_another_one(storage: Storage) -> None:
    first, second = (next(read_tasks(storage))["data"] for _ in range(2))
    second["records"].pop()
    assert item_of(first) != item_of(second)
    assert item_of({}) == ("None", "None", ())


def test_mistakes_are_told_in_one_line(
    storage: Storage, client: FakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds no tasks"):
        list(read_tasks(Storage(str(tmp_path / "nothing"))))
    client.made = [SimpleNamespace(id=1, title="p", parsed_label_config={"tag": {}})]
    with pytest.raises(UsageError, match="another labelling interface"):
        push("http://x", storage, "p", lambda _: None)
    client.made *= 2
    with pytest.raises(UsageError, match="2 projects are named 'p'"):
        push("http://x", storage, "p", lambda _: None)
    broken = json.loads(storage.read_bytes("tasks.json"))
    broken[0]["predictions"][0]["score"] = 2
    storage.write_bytes("tasks.json", json.dumps(broken).encode())
    client.made = []
    with pytest.raises(UsageError, match=r"tasks.json is damaged: .*score"):
        push("http://x", storage, "p", lambda _: None)
    monkeypatch.delenv(KEY)
    with pytest.raises(UsageError, match=f"{KEY} is not set"):
        push("http://x", storage, "p", lambda _: None)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "label_studio_sdk", None)
    with pytest.raises(UsageError, match=r"pip install 'litelvlm-annotate\[label-studio\]'"):
        push("http://x", storage, "p", lambda _: None)
