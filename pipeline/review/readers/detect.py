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


def is_companion(name: str) -> bool:
    """Whether a file of this name is known to lie beside the documents that are read."""
    last = name.rpartition("/")[2].lower()
    return last in COMPANIONS or last.endswith(".jsonl")


def _of_list(content: list[Any]) -> str | None:
    if all(isinstance(one, dict) and "data" in one for one in content):
        return "label-studio"  # without a task too
    return "cvat-backup" if all(isinstance(one, dict) and "shapes" in one for one in content) else None
