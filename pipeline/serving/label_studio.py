"""Label Studio's protocol for models (`/setup`, `/predict`, `/webhook`): what is typed into a text area is the phrase,
masks come back as brush strokes or bitmasks, and what annotators correct goes to the reviews of a run."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.review.formats.label_studio_tasks import bitmask_url
from litelvlm.pipeline.review.readers.brush import encode_brush
from litelvlm.pipeline.serving.api import Mask, parse_request
from litelvlm.pipeline.serving.corrections import Corrections
from litelvlm.pipeline.serving.errors import Refusal
from litelvlm.pipeline.serving.label_config import LabelConfig, read_label_config
from litelvlm.pipeline.serving.service import AnnotationService

CORRECTING = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED")
MAX_TASKS = 64  # of one request; Label Studio has a time limit for each
MAX_PHRASES = 1_000  # of a task
_TASKS_TOGETHER = 8
_PHRASE_FIELDS = ("phrases", "phrase", "asked", "text", "caption")


class LabelStudioBackend:
    """Answers Label Studio.

    Args:
        service: annotates.
        corrections: keeps what annotators did; None leaves it to Label Studio.
        label_studio_url: where images are that tasks name without a host, such as `/data/upload/1/a.jpg`; None refuses
            them.
    """

    def __init__(
        self,
        service: AnnotationService,
        corrections: Corrections | None = None,
        label_studio_url: str | None = None,
    ) -> None:
        self._service, self._corrections, self._url = service, corrections, label_studio_url

    def setup(self, body: bytes) -> dict[str, Any]:
        """A project is connected. Raises Refusal where masks cannot be drawn in its interface."""
        given = _object(body)
        if given.get("schema") is not None:
            _config(given["schema"], "schema")
        return {"model_version": self._service.facts.version}

    async def predict(self, body: bytes) -> dict[str, Any]:
        """Predictions, one a task: an empty one where nothing is asked, none (an empty list) where one of several tasks
        cannot be answered. Of more than `MAX_TASKS` the first alone is answered: Label Studio then asks for each by
        itself. Raises Refusal."""
        given = _object(body)
        tasks, params = given.get("tasks"), given.get("params") or {}
        if not isinstance(tasks, list) or not all(isinstance(one, dict) for one in tasks):
            raise Refusal(422, "invalid", "must be a list of tasks", "tasks")
        config = _config(given.get("label_config"), "label_config")
        typed = _typed(params.get("context") if isinstance(params, dict) else None, config)
        told = await self._predicted_all(tasks if len(tasks) <= MAX_TASKS else tasks[:1], config, typed)
        return {"results": told, "model_version": self._service.facts.version}

    async def webhook(self, body: bytes) -> dict[str, Any]:
        """An event. Raises Refusal where a correction is damaged or the store fails, once all others are kept."""
        given = _object(body)
        action = given.get("action")
        if action not in CORRECTING or self._corrections is None:
            return {"status": "ignored"}
        annotations = given.get("annotation")
        annotations = annotations if isinstance(annotations, list) else [annotations]
        tasks = given.get("task")
        tasks = tasks if isinstance(tasks, list) else [tasks] * len(annotations)
        if len(tasks) != len(annotations) or not all(isinstance(one, dict) for one in [*tasks, *annotations]):
            raise Refusal(422, "invalid", "an event has a task for each annotation", "task")
        reviewed = [{**task, "annotations": [one]} for task, one in zip(tasks, annotations, strict=True)]
        # Label Studio waits for a second and then hangs up, which must not lose what it has told.
        kept = await asyncio.shield(asyncio.to_thread(self._keep, self._corrections, reviewed))
        return {"status": "ok", "items": kept}

    def _keep(self, corrections: Corrections, reviewed: list[dict[str, Any]]) -> int:
        kept, refusal = 0, None
        for task in reviewed:
            try:
                kept += corrections.add(task)
            except StorageError:
                refusal = Refusal(503, "storage", "the reviews cannot be written now", retry_after_s=5)
            except ValueError as error:
                refusal = refusal or Refusal(422, "not_a_correction", str(error)[:300], "annotation")
        self._service.meters.corrections.inc(kept)
        if refusal is not None:
            raise refusal
        return kept

    async def _predicted_all(
        self, tasks: list[dict[str, Any]], config: LabelConfig, typed: list[str] | None
    ) -> list[Any]:
        room = asyncio.Semaphore(_TASKS_TOGETHER)

        async def predicted(task: dict[str, Any]) -> dict[str, Any] | Refusal:
            async with room:
                try:
                    return await self._predicted(task, config, typed)
                except Refusal as refusal:
                    return refusal

        told = await asyncio.gather(*map(predicted, tasks))
        refused = [one for one in told if isinstance(one, Refusal)]
        if refused and len(refused) == len(told):
            raise refused[0]
        return [[] if isinstance(one, Refusal) else one for one in told]

    async def _predicted(self, task: dict[str, Any], config: LabelConfig, typed: list[str] | None) -> dict[str, Any]:
        raw = task.get("data")
        data: dict[str, Any] = raw if isinstance(raw, dict) else {}
        phrases = (_phrases_of(data) or list(config.labels)) if typed is None else typed
        if len(phrases) > MAX_PHRASES:
            raise Refusal(422, "too_many_phrases", f"{len(phrases)} phrases; at most {MAX_PHRASES}", "tasks")
        version = self._service.facts.version
        if not phrases:
            return {"result": [], "score": 0.0, "model_version": version}
        uri = data.get(config.image_field)
        if not isinstance(uri, str) or not uri:
            raise Refusal(422, "invalid", f"the task has no image in data.{config.image_field}"[:200], "tasks")
        if uri.startswith("/"):
            if self._url is None:
                raise Refusal(403, "refused", "the image is Label Studio's own; start with --label-studio-url", "tasks")
            uri = self._url.rstrip("/") + uri
        found: list[tuple[Mask, EncodedMask]] = []
        at_once = self._service.config.limits.max_phrases
        for start in range(0, len(phrases), at_once):
            asked = json.dumps({"image": {"uri": uri}, "phrases": phrases[start : start + at_once]}).encode()
            told = await self._service.annotate(parse_request(asked, at_once))
            found += [(mask, encoded) for mask in told.masks if (encoded := _encoded(mask)) is not None]
        results = [region for mask, encoded in found for region in _regions(mask, encoded, config, data)]
        scores = [mask.score or 0.0 for mask, _ in found]
        return {"result": results, "score": min(scores, default=0.0), "model_version": version}


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "bad_json", "the body is not JSON") from None
    if not isinstance(given, dict):
        raise Refusal(422, "invalid", "the body is no object")
    return given


def _config(xml: Any, field: str) -> LabelConfig:
    try:
        return read_label_config(xml if isinstance(xml, str) else "")
    except ValueError as error:
        raise Refusal(422, "bad_label_config", str(error)[:300], field) from None


def _typed(context: Any, config: LabelConfig) -> list[str] | None:
    """The lines of the text that was typed last into the text area of the whole image, which keeps all of them; none
    where somebody did something else to it. None where nobody is annotating."""
    if not isinstance(context, dict):
        return None
    results = context.get("result")
    found: list[str] = []
    for one in results if isinstance(results, list) else []:
        if not isinstance(one, dict) or one.get("type") != "textarea":
            continue
        if config.prompt is not None and one.get("from_name") != config.prompt:
            continue
        value = one.get("value")
        texts = value.get("text") if isinstance(value, dict) else None
        found = _texts(texts[-1:] if isinstance(texts, list) else texts) or found
    return list(dict.fromkeys(found))


def _phrases_of(data: dict[str, Any]) -> list[str]:
    for name in _PHRASE_FIELDS:
        if found := _texts(data.get(name)):
            return found
    return []


def _texts(given: Any) -> list[str]:
    """The words of a text, of a list of texts or of choices; empty ones are left out."""
    items: Sequence[Any] = given if isinstance(given, list) else [given]
    texts = [one.get("value") if isinstance(one, dict) else one for one in items]
    lines = [line.strip() for one in texts if isinstance(one, str) for line in one.splitlines()]
    return [line for line in lines if line]


def _encoded(mask: Mask) -> EncodedMask | None:
    if mask.status != "ok" or mask.rle is None or mask.area is None or mask.bbox is None:
        return None
    left, top, width, height = mask.bbox
    return EncodedMask(
        size_hw=(mask.rle.size[0], mask.rle.size[1]),
        counts=mask.rle.counts,
        area=mask.area,
        bbox_xywh=(left, top, width, height),
    )


def _regions(mask: Mask, encoded: EncodedMask, config: LabelConfig, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The mask, and its phrase where regions have a text for it."""
    height, width = encoded.size_hw
    place = {
        "id": uuid.uuid4().hex[:10],
        "to_name": config.image,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    score = mask.score
    region = {
        **place,
        "from_name": config.control,
        "type": config.kind,
        "score": score,
        "value": _value(mask, encoded, config),
    }
    found = [region]
    if config.phrase is not None:
        text = {"text": [mask.phrase]}
        found.append({**place, "from_name": config.phrase, "type": "textarea", "value": text})
    return found


def _value(mask: Mask, encoded: EncodedMask, config: LabelConfig) -> dict[str, Any]:
    if config.is_bitmask:
        value: dict[str, Any] = {"imageDataURL": bitmask_url(encoded)}
    else:
        value = {"format": "rle", "rle": encode_brush(decode_mask(encoded))}
    if config.kind.endswith("labels"):
        value[config.kind] = [_label(mask.phrase, config)]
    return value


def _label(phrase: str, config: LabelConfig) -> str:
    """The declared label of that name, else the first one; without any, the phrase."""
    by_name = {one.casefold(): one for one in config.labels}
    return by_name.get(phrase.strip().casefold(), config.labels[0] if config.labels else phrase)
