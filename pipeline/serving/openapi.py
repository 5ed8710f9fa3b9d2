"""What the OpenAPI document says of Label Studio's bodies, which are read as they come."""

from __future__ import annotations

from typing import Any

from litelvlm.pipeline.serving.label_studio import CORRECTING

_OBJECT = {"type": "object"}
_INTERFACE = {"contentMediaType": "application/xml", "description": "the labelling interface"}


def _body(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


SETUP = _body([], schema={"type": ["string", "null"], **_INTERFACE})
PREDICT = _body(
    ["tasks", "label_config"],
    tasks={"type": "array", "items": _OBJECT | {"properties": {"data": _OBJECT}}},
    label_config={"type": "string", **_INTERFACE},
    params=_OBJECT | {"properties": {"context": {"type": ["object", "null"], "description": "what was just drawn"}}},
)
WEBHOOK = _body(
    [],
    action={"description": f"what happened; other events than {', '.join(CORRECTING)} are ignored"},
    task={"description": "with its data, or a list of such"},
    annotation={"description": "of that task, or a list with one for each"},
)
