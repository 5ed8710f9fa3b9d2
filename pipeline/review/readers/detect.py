"""Which tool wrote a document, by what is in it."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

FORMATS = ("label-studio", "cvat-xml", "cvat-backup", "coco", "datumaro", "fiftyone")
#: What lies beside the documents with the masks in exports of these tools, and is not read by itself.
COMPANIONS = {
    *("task.json", "project.json", "metadata.json", "tags.json", "frames.json"),
    *("labels.json", "cvat_labels.json", "label_config.xml", "index.json"),
}
_OTHER_TASKS = ("image_info_", "person_keypoints_", "captions_", "labels_", "panoptic_", "stuff_")


def detect(content: Any) -> str | None:
    """The format of parsed JSON or of the root of XML; None where it is no known one."""
    if isinstance(content, Element):
        return "cvat-xml" if content.tag == "annotations" else None
    if isinstance(content, list):
        return _of_list(content)
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("samples"), list):
        return "fiftyone"
    if isinstance(content.get("items"), list) and "categories" in content:
        return "datumaro"
    if isinstance(content.get("frames"), list) and isinstance(content.get("shapes"), list):
        return "cvat-backup"
    if isinstance(content.get("images"), list) and ("annotations" in content or "categories" in content):
        return "coco"
    return None


def is_companion(name: str, siblings: frozenset[str] = frozenset()) -> bool:
    """Whether a file of this name is known to lie beside the documents that are read.

    Beside COCO's `instances_….json`, the files of its other tasks have the same images without masks, or with the same
    ones again: read by themselves, they would look like images whose every region was rejected.
    """
    folder, _, last = name.rpartition("/")
    if last.lower() in COMPANIONS or last.lower().endswith(".jsonl") or last.startswith(("_", ".")):
        return True
    start = next((start for start in _OTHER_TASKS if last.startswith(start)), None)
    instances = f"instances_{last.removeprefix(start or '')}"
    return start is not None and (f"{folder}/{instances}" if folder else instances) in siblings


def _of_list(content: list[Any]) -> str | None:
    if all(isinstance(one, dict) and "data" in one for one in content):
        return "label-studio"  # without a task too
    return "cvat-backup" if all(isinstance(one, dict) and "shapes" in one for one in content) else None
