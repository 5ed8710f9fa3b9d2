"""A request's way, where `test_app.py` does not see it."""

from __future__ import annotations

import asyncio
import base64

from litelvlm.pipeline.serving.api import AnnotateRequest, ImageSource
from litelvlm.pipeline.serving.questions import PhraseAnswer
from tests.pipeline.samples import picture, png
from tests.pipeline.serving.doubles import service


class _Known:
    def __init__(self, *phrases: str) -> None:
        self._phrases = phrases

    def find(self, data: bytes, perceptual_hash: str, phrases: list[str], **asked: object) -> dict[str, PhraseAnswer]:
        return {one: PhraseAnswer(status="empty", source="run") for one in phrases if one in self._phrases}


def test_only_what_no_run_has_answered_is_asked_and_order_is_kept() -> None:
    made = service()
    made.service._known = _Known("a", "c")  # type: ignore[assignment]
    image = ImageSource(bytes=base64.b64encode(png(picture(0))).decode())
    told = asyncio.run(made.service.annotate(AnnotateRequest(image=image, phrases=["a", "b", "c", "b"])))
    assert [one.source for one in told.masks] == ["run", "model", "run", "model"]
    assert made.backend.asked[0].phrases == ("b", "b")
    told = asyncio.run(made.service.annotate(AnnotateRequest(image=image, phrases=["c", "a"])))
    assert len(made.backend.asked) == 1  # the model was not asked again
    assert (told.width, told.height) == (32, 24)
