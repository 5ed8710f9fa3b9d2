"""A function for CVAT's automatic annotation, which asks a service or loads the model itself.

    cvat-cli task auto-annotate 1 --function-module litelvlm.pipeline.serving.cvat_function \\
        -p url=str:http://127.0.0.1:8123 -p labels=str:car,person --allow-unmatched-labels

As a file: `--function-file pipeline/serving/cvat_function.py`. Parameters of `create` are given with `-p`.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
from cvat_sdk.masks import encode_mask

from litelvlm.pipeline.export.outlines import trace
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_answers
from litelvlm.pipeline.ontology import read_ontology
from litelvlm.pipeline.serving.client import Client, Mask
from litelvlm.pipeline.serving.config import TOKEN_VARIABLE

_PHRASES_AT_ONCE = 32  # a service limits those of a request, and keeps the image

Found = tuple[EncodedMask, float]  # a mask that is not empty, and its score


class _Asked(Protocol):
    def __call__(self, image: PIL.Image.Image, phrases: list[str]) -> list[Found | None]: ...


class PhraseFunction:
    """Masks of what phrases name.

    Args:
        labels: phrases of each label.
        frames: phrases of an image by its file name, in place of those; `label` says under which label, by default the
            first.
        ask: answers phrases.
    """

    def __init__(
        self, labels: Mapping[str, Sequence[str]], frames: Mapping[str, Mapping[str, Sequence[str]]], ask: _Asked
    ) -> None:
        names = [*labels, *(name for one in frames.values() for name in one)]
        self._ids = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if not self._ids:
            raise ValueError("labels: there is none; give labels, ontology or frames")
        self._labels, self._frames, self._ask = labels, frames, ask

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        """The labels, which the task's are matched with by name."""
        labels = [cvataa.label_spec(name, number, type="any") for name, number in self._ids.items()]
        return cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image) -> list[Any]:
        """A mask for each phrase that is found, or polygons where the caller asks for these."""
        asked = self._frames.get(context.frame_name, self._labels)
        pairs = [(name, phrase) for name, phrases in asked.items() for phrase in phrases]
        answers = self._ask(image, [phrase for _, phrase in pairs]) if pairs else []
        least, shapes = context.conf_threshold or 0.0, []
        for (name, _), found in zip(pairs, answers, strict=True):
            if found is not None and found[1] >= least:
                shapes += _shapes(self._ids[name], found, as_polygons=context.conv_mask_to_poly)
        return shapes


def create(
    url: str | None = None,
    model: str = "demo",
    clip: str | None = None,
    labels: str | None = None,
    ontology: str | None = None,
    frames: str | None = None,
    num_retain_tokens: int | None = None,
    rule: str | None = None,
) -> PhraseFunction:
    """The function, as CVAT's tools make it.

    Args:
        url: of a service, whose token is in LITELVLM_SERVE_TOKEN; without, the model runs in this process.
        model, clip: which, then.
        labels: names of labels, separated by commas, each its own phrase.
        ontology: a file of classes with their prompts (docs/ontology.md).
        frames: a JSON file: image name -> label -> list of phrases.
        num_retain_tokens, rule: budget and pruning rule.

    Raises:
        ValueError, OSError: a parameter or file does not fit.
    """
    named = {name.strip(): [name.strip()] for name in (labels or "").split(",") if name.strip()}
    if ontology is not None:
        for category in read_ontology(ontology).categories:
            named[category.name] = list(category.prompts) or [category.name]
    ask = _of_service(url, num_retain_tokens, rule) if url else _in_process(model, clip, num_retain_tokens, rule)
    return PhraseFunction(named, read_frames(frames) if frames else {}, ask)


def read_frames(path: str) -> dict[str, dict[str, list[str]]]:
    """Phrases by image and label. Raises ValueError naming what does not fit."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(given, dict):
        raise ValueError(f"frames {path}: must be an object: image name -> label -> list of phrases")
    for frame, named in given.items():
        lists = named.values() if isinstance(named, dict) else [None]
        if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
            raise ValueError(f"frames {path}: {frame!r} must be an object: label -> list of phrases")
    return given


def _of_service(url: str, num_retain_tokens: int | None, rule: str | None) -> _Asked:
    client = Client(url=url, token=os.environ.get(TOKEN_VARIABLE))

    def ask(image: PIL.Image.Image, phrases: list[str]) -> list[Found | None]:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG", compress_level=1)
        found: list[Found | None] = []
        for start in range(0, len(phrases), _PHRASES_AT_ONCE):
            some = phrases[start : start + _PHRASES_AT_ONCE]
            told = client.annotate(buffer.getvalue(), some, num_retain_tokens=num_retain_tokens, rule=rule)
            found += [(_mask(one), one.score or 0.0) if one.status == "ok" else None for one in told.masks]
        return found

    return ask


def _in_process(model: str, clip: str | None, num_retain_tokens: int | None, rule: str | None) -> _Asked:
    from litelvlm import AnnotationRequest, Annotator, PruningConfig

    annotator = Annotator.from_pretrained(model, clip=clip)
    pruning = PruningConfig(num_retain_tokens=num_retain_tokens, rule=rule or "release")

    def ask(image: PIL.Image.Image, phrases: list[str]) -> list[Found | None]:
        request = AnnotationRequest(image=np.array(image.convert("RGB")), phrases=phrases)
        result = annotator.annotate([request], pruning=pruning, keep_logits=False)[0]
        pairs = zip(encode_answers(result), result.scores, strict=True)
        return [(mask, float(score)) if mask.area else None for mask, score in pairs]

    return ask


def _mask(answer: Mask) -> EncodedMask:
    assert answer.rle is not None, "an answer that is ok has a mask"
    assert answer.bbox is not None, "and a box"
    (height, width), (left, top, across, down) = answer.rle["size"], answer.bbox
    return EncodedMask(
        size_hw=(height, width),
        counts=answer.rle["counts"],
        area=answer.area or 0,
        bbox_xywh=(left, top, across, down),
    )


def _shapes(label_id: int, found: Found, *, as_polygons: bool) -> list[Any]:
    mask, score = found
    if as_polygons:
        rings = trace(mask, 1.0).rings
        return [cvataa.polygon(label_id, ring.ravel().tolist(), score=score) for ring in rings]
    return [cvataa.mask(label_id, encode_mask(decode_mask(mask)), score=score)]
