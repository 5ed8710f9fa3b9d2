"""The copied images of an export, uploaded to Label Studio, so that its tasks show them.

They lie in a project of their own beside that of the tasks: Label Studio takes files only where a project's labelling
interface asks for no more than one thing, and one that shows masks with their phrases asks for several.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

from PIL import Image

from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.images.sniff import sniff_format
from litelvlm.pipeline.review.formats.label_studio_tasks import IMAGES_DIR, local_file_url
from litelvlm.pipeline.storage.store import Storage

# What Label Studio takes and browsers show; anything else goes up as PNG.
_ENDINGS = {"jpeg": ".jpg", "png": ".png", "gif": ".gif", "bmp": ".bmp", "webp": ".webp"}
SUFFIX, _MAX_TITLE = " (images)", 50
_MAX_PIXELS = 500_000_000  # of our own copies, which the run has decoded
_REQUEST = {"max_retries": 0, "timeout_in_seconds": 600}  # a request that was answered late would be made twice


class UploadedImages:
    """The images of an export in a project. One that is there already, after a crash too, is not uploaded again.

    Args:
        client: the SDK's.
        name: of the tasks' project.
        storage: the export.
    """

    def __init__(self, client: Any, name: str, storage: Storage) -> None:
        self._client, self._name, self._storage = client, name, storage
        self._project = 0
        self._present: dict[str, str] | None = None

    def show(self, task: dict[str, Any]) -> bool:
        """Let a task show its upload, if it shows a copy of the export's. Returns whether its image can be seen:
        False for a copy that is not in the export.

        Raises:
            the SDK's errors, and those of its HTTP client.
        """
        data = task["data"]
        if data["image"] != local_file_url(data["file_name"]):
            return True
        try:
            image = self._storage.read_bytes(f"{IMAGES_DIR}/{data['file_name']}")
        except FileNotFoundError:
            return False
        data["image"] = f"/data/{self._upload(image)}"
        return True

    def _upload(self, image: bytes) -> str:
        """Path of an image on the server: that of an upload of the same content, else of a new one."""
        image, ending = _as_shown(image)
        name = hashlib.sha256(image).hexdigest()[:32] + ending
        if self._present is None:
            self._project = self._find_project()
            found = self._client.files.list(self._project, all_=True)
            self._present = {one.file.rpartition("-")[2]: one.file for one in found}
        if name not in self._present:
            self._present[name] = self._post(name, image)
        return self._present[name]

    def _find_project(self) -> int:
        title = f"{self._name}{SUFFIX}"[-_MAX_TITLE:]
        found = [one.id for one in self._client.projects.list(title=title) if one.title == title]
        if not found:
            told = f"Images that the tasks of {self._name!r} show; they go with this project."
            found = [self._client.projects.create(title=title, description=told).id]
        return int(min(found))

    def _post(self, name: str, image: bytes) -> str:
        """Upload without making a task of it, for which the SDK has no method of its own."""
        from label_studio_sdk.core.api_error import ApiError

        answer = self._client._client_wrapper.httpx_client.request(
            f"api/projects/{self._project}/import",
            method="POST",
            params={"commit_to_project": "false"},
            files={"file": (name, image)},
            request_options=_REQUEST,
        )
        if answer.status_code >= 300:
            raise ApiError(status_code=answer.status_code, body=answer.text)
        (upload,) = answer.json()["file_upload_ids"]
        path: str = self._client.files.get(upload).file
        return path


def _as_shown(image: bytes) -> tuple[bytes, str]:
    """An image that browsers show, and its ending. Raises ImageError where it is none."""
    ending = _ENDINGS.get(sniff_format(image)[0])
    if ending is not None:
        return image, ending
    buffer = io.BytesIO()
    Image.fromarray(decode_image(image, max_pixels=_MAX_PIXELS).rgb).save(buffer, "PNG")
    return buffer.getvalue(), ".png"
