"""Into a project of Label Studio's, through its own SDK: what is missing is added, what is there is left alone."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.review.formats.label_studio import CONFIG_NAME
from litelvlm.pipeline.review.formats.label_studio_checks import check_task
from litelvlm.pipeline.review.formats.label_studio_tasks import IMAGES_DIR
from litelvlm.pipeline.review.push.label_studio_images import UploadedImages
from litelvlm.pipeline.storage.store import Storage

KEY = "LABEL_STUDIO_API_KEY"
_BATCH_BYTES, _BATCH_TASKS = 20_000_000, 100
_NO_RETRIES = {"max_retries": 0, "timeout_in_seconds": 600}  # a request that was answered late would be made twice

Item = tuple[str, str, tuple[str, ...]]


def push(url: str, storage: Storage, name: str, say: Callable[[str], None]) -> Counter[str]:
    """Bring the tasks of an export into the project of this name, which is made where there is none. Copied images go
    along.

    A task is an image (its id and its name) with its records. What the project has of these stays as it is, with all
    that people did; one whose predictions were lost on the way gets them. Running it again, after a crash too, adds
    what is missing. Two at the same time are not kept apart.

    Returns how many tasks were `added`, were `present`, and were `completed` with their predictions.

    Raises:
        UsageError: the SDK or the key is missing, the server refuses, or several projects or another one have the name.
    """
    sdk, key = _sdk(), os.environ.get(KEY)
    if not key:
        raise UsageError(f"--push: {KEY} is not set; it is under Account & Settings of Label Studio")
    client = sdk.LabelStudio(base_url=url.rstrip("/"), api_key=key)
    try:
        return _push(client, storage, name, say)
    except sdk.core.api_error.ApiError as error:
        raise UsageError(f"--push {url}: Label Studio answers {error.status_code}: {_reason(error.body)}") from None
    except _connection_errors() as error:
        raise UsageError(
            f"--push {url}: no answer from Label Studio ({type(error).__name__}); is it running?"
        ) from None


def _push(client: Any, storage: Storage, name: str, say: Callable[[str], None]) -> Counter[str]:
    project = _project(client, name, storage.read_bytes(CONFIG_NAME).decode("ascii"))
    say(f"project {project.id} {name!r}")
    present = {item_of(one.data): one for one in client.tasks.list(project=project.id, fields="all", resolve_uri=False)}
    counts: Counter[str] = Counter()
    images = UploadedImages(client, name, storage)
    for batch in _batches(_missing(client, storage, present, images, counts)):
        client.projects.import_tasks(project.id, request=batch, request_options=_NO_RETRIES)
        counts["added"] += len(batch)
        say(f"{counts['added']} tasks added")
    if unseen := counts.pop("without_image", 0):
        say(f"{unseen} tasks have no image: it is not in {storage.path(IMAGES_DIR)}; export with --copy-images")
    return counts


def item_of(data: dict[str, Any]) -> Item:
    """What a task is told by."""
    records = data.get("records")
    return (
        str(data.get("image_id")),
        str(data.get("file_name")),
        tuple(map(str, records)) if isinstance(records, list) else (),
    )


def _missing(
    client: Any, storage: Storage, present: dict[Item, Any], images: UploadedImages, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The tasks that the project has not, their images uploaded."""
    for task in read_tasks(storage):
        item = item_of(task["data"])
        there = present.get(item)
        if there is None:
            present[item] = task
            counts["without_image"] += not images.show(task)
            yield task
            continue
        counts["present"] += 1
        if getattr(there, "total_predictions", None) == 0:
            for one in task["predictions"]:
                client.predictions.create(task=there.id, request_options=_NO_RETRIES, **one)
            counts["completed"] += 1


def read_tasks(storage: Storage) -> Iterator[dict[str, Any]]:
    """Every task of an export, checked. Raises UsageError where there is none or one is damaged."""
    names = [name for name in storage.list("") if name.startswith("tasks") and name.endswith(".json")]
    if not names:
        raise UsageError(f"--push: {storage.root!r} holds no tasks for Label Studio; export --to label-studio first")
    for name in names:
        try:
            for task in json.loads(storage.read_bytes(name)):
                check_task(task)
                yield task
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"--push: {name} is damaged: {error}") from None


def _project(client: Any, name: str, config: str) -> Any:
    found = [one for one in client.projects.list(title=name) if one.title == name]
    if len(found) > 1:
        raise UsageError(f"--push: {len(found)} projects are named {name!r}; choose another name")
    if not found:
        return client.projects.create(title=name, label_config=config, show_collab_predictions=True)
    controls = set(client.projects.get(found[0].id).parsed_label_config or {})
    if not _controls(config) <= controls:
        raise UsageError(f"--push: project {name!r} has another labelling interface; choose another name")
    return found[0]


def _controls(config: str) -> set[str]:
    """Names of what a reviewer marks with; titles, colours and order are the reviewers' own affair."""
    import xml.etree.ElementTree as trees

    return {node.attrib["name"] for node in trees.fromstring(config).iter() if "toName" in node.attrib}


def _batches(tasks: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    num_bytes = 0
    for task in tasks:
        size = len(json.dumps(task))
        if batch and (num_bytes + size > _BATCH_BYTES or len(batch) == _BATCH_TASKS):
            yield batch
            batch, num_bytes = [], 0
        batch.append(task)
        num_bytes += size
    if batch:
        yield batch


def _reason(body: Any) -> str:
    """The server's own words, without its traceback."""
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    return str(body)[:300]


def _sdk() -> Any:
    try:
        import label_studio_sdk
        import label_studio_sdk.core.api_error
    except ImportError:
        raise UsageError("--push: label-studio-sdk is missing; pip install 'litelvlm-annotate[label-studio]'") from None
    return label_studio_sdk


def _connection_errors() -> tuple[type[BaseException], ...]:
    """Of the SDK's HTTP client, and of the other one with which it refreshes tokens."""
    import httpx

    return (httpx.HTTPError,)
