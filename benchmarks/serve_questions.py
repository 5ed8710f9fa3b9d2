"""Questions for the service whose answers are known: scenes as JPEG, and what the engine says of each phrase alone."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.pipeline.masks import encode_answers
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.images import ImageReader
from litelvlm.pipeline.serving.served_model import AskedModel
from litelvlm.pipeline.stages.engine import LiteLVLMEngine

FIRST_SEED = HELD_OUT_SEED + 40_000  # beyond the scenes of other measurements
SETTINGS: dict[str, Any] = {"model": "demo", "num_retain_tokens": 48, "rule": "paper"}
_QUALITY = 90
Questions = list[dict[str, Any]]


class Author:
    """Draws questions and answers them without a service, one phrase at a time."""

    def __init__(self) -> None:
        config = ServeConfig.from_flat(SETTINGS)
        engine = LiteLVLMEngine(model=config.model)
        self._reader = ImageReader(config, engine.preprocessor())
        self._model = AskedModel(engine=engine, annotator=engine.annotator(1))
        self._seed = FIRST_SEED

    def questions(self, count: int, width_px: int | None = None) -> Questions:
        """New scenes, as drawn or enlarged to a width: image in base64, phrases, and a true run length of each."""
        return [self._question(width_px) for _ in range(count)]

    def _question(self, width_px: int | None) -> dict[str, Any]:
        scene = draw_scene(self._seed)
        self._seed += 1
        image = Image.fromarray(scene.image)
        if width_px is not None:
            image = image.resize((width_px, round(image.height * width_px / image.width)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY)
        data = buffer.getvalue()
        encoded = self._model.encode([self._reader.read(data).prepared])[0]
        truth = []
        for phrase in scene.phrases:
            told = self._model.annotate([encoded], [[phrase]], num_retain_tokens=48, rule="paper")
            truth.append(next(iter(encode_answers(told[0]))).as_coco())
        return {"image": padded_base64(data), "bytes": len(data), "phrases": scene.phrases, "truth": truth}


def padded_base64(data: bytes) -> str:
    """Base64 that more may be appended to: what comes behind a JPEG's end is not looked at."""
    return base64.b64encode(data + b"\0" * (-len(data) % 3)).decode()
