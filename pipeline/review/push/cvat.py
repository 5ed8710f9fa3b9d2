"""Into a project of CVAT's, through its own SDK: a task a part, its images, and masks with their native score."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.review.push.cvat_shapes import shape_of
from litelvlm.pipeline.storage.store import Storage

TOKEN, USER, PASSWORD = "CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"


def push(url: str, storage: Storage, name: str, say: Callable[[str], None]) -> Counter[str]:
    """Bring the parts of an export into the project of this name, which is made where there is none.

    A part is a task of its name. Its images go up where the task has none yet; its masks, all in one request, where
    nobody has annotated it and no job of it has begun. Running it again, after a crash too, adds what is missing. Two
    at the same time are not kept apart.

    Returns how many tasks were `added`, were `present`, and how many `shapes` were added.

    Raises:
        UsageError: the SDK or the credentials are missing, the server refuses, there are no images, or several
            projects have the name.
    """
    client_of, models, errors = _sdk()
    credentials = _credentials()
    try:
        with client_of(url.rstrip("/"), **credentials) as client:
            return _push(client, models, storage, name, say)
    except errors as error:
        told = getattr(error, "status", None) or type(error).__name__
        raise UsageError(
            f"--push {url}: CVAT does not take it ({told}); is it running, are the rights there?"
        ) from None


def _push(client: Any, models: Any, storage: Storage, name: str, say: Callable[[str], None]) -> Counter[str]:
    parts = [one for one in storage.list("") if one.endswith("/annotations.json")]
    if not parts:
        raise UsageError(f"--push: {storage.root!r} holds no parts for CVAT; export --to cvat first")
    project = _project(client, models, name, json.loads(storage.read_bytes("labels.json")))
    say(f"project {project.id} {name!r}")
    labels = {one.name: one for one in project.get_labels()}
    tasks = {one.name: one for one in project.get_tasks()}
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(_push_part(client, models, storage, part, project.id, labels, tasks))
        say(f"{counts['added']} tasks and {counts['shapes']} masks added")
    return counts


def _project(client: Any, models: Any, name: str, labels: list[dict[str, Any]]) -> Any:
    found = [one for one in client.projects.list() if one.name == name]
    if len(found) > 1:
        raise UsageError(f"--push: {len(found)} projects are named {name!r}; choose another name")
    return found[0] if found else client.projects.create(models.ProjectWriteRequest(name=name, labels=labels))


def _push_part(
    client: Any,
    models: Any,
    storage: Storage,
    part: str,
    project: int,
    labels: dict[str, Any],
    tasks: dict[str, Any],
) -> Counter[str]:
    folder, content = part.rpartition("/")[0], json.loads(storage.read_bytes(part))
    task = tasks.get(folder)
    counts = Counter[str](added=task is None, present=task is not None)
    if task is None:
        task = client.tasks.create(models.TaskWriteRequest(name=folder, project_id=project))
    if not task.size:
        _upload(storage, folder, content, task)
    if not _is_untouched(task):
        return counts
    frames = {one.name: number for number, one in enumerate(task.get_frames_info())}
    shapes = _shapes(content, frames, labels, folder)
    if shapes:
        # one request, so that after a crash there are all masks or none
        request = models.PatchedLabeledDataRequest(shapes=[models.LabeledShapeRequest(**one) for one in shapes])
        task.api.partial_update_annotations("create", task.id, patched_labeled_data_request=request)
    counts["shapes"] = len(shapes)
    return counts


def _is_untouched(task: Any) -> bool:
    """Whether nothing is annotated, and no job was begun by someone who may have deleted all of it."""
    there = task.get_annotations()
    return not (there.shapes or there.tracks or there.tags) and all(job.state == "new" for job in task.get_jobs())


def _shapes(
    content: dict[str, Any], frames: dict[str, int], labels: dict[str, Any], folder: str
) -> list[dict[str, Any]]:
    names = {one["id"]: one["file_name"] for one in content["images"]}
    classes = {one["id"]: one["name"] for one in content["categories"]}
    if missing := sorted(set(names.values()) - set(frames)):
        raise UsageError(f"--push: task {folder} lacks image {missing[0]}; delete the task and push again")
    if missing := sorted({classes[one["category_id"]] for one in content["annotations"]} - set(labels)):
        raise UsageError(f"--push: the project lacks label {missing[0]!r}; choose another name")
    return [
        shape_of(one, frames[names[one["image_id"]]], labels[classes[one["category_id"]]])
        for one in content["annotations"]
    ]


def _upload(storage: Storage, folder: str, content: dict[str, Any], task: Any) -> None:
    """The images in one archive, which keeps their directories; files sent by themselves lose them."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "images.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for one in content["images"]:
                try:
                    archive.writestr(one["file_name"], storage.read_bytes(f"{folder}/images/{one['file_name']}"))
                except FileNotFoundError:
                    raise UsageError(
                        f"--push: {folder}/images/{one['file_name']} is missing; export with images first"
                    ) from None
        task.upload_data([path], params={"image_quality": 100})


def _credentials() -> dict[str, Any]:
    token, user, password = (os.environ.get(one) for one in (TOKEN, USER, PASSWORD))
    if token:
        return {"access_token": token}
    if user and password:
        return {"credentials": (user, password)}
    raise UsageError(f"--push: set {TOKEN}, or {USER} and {PASSWORD}")


def _sdk() -> tuple[Any, Any, tuple[type[BaseException], ...]]:
    try:
        import urllib3
        from cvat_sdk import exceptions, make_client, models
    except ImportError:
        raise UsageError("--push: cvat-sdk is missing; pip install 'litelvlm-annotate[cvat]'") from None
    return make_client, models, (exceptions.ApiException, urllib3.exceptions.HTTPError)
