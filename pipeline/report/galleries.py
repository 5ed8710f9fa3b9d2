"""The pictures of a report with their captions."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.report import charts, words
from litelvlm.pipeline.report.answers import Facts
from litelvlm.pipeline.report.baseline import Pair
from litelvlm.pipeline.report.examples import RecordExample, WholeImage
from litelvlm.pipeline.report.overlay import colour_of
from litelvlm.pipeline.report.pictures import (
    Key,
    Picture,
    SourceImage,
    SourceImages,
    draw_picture,
    draw_thumbnail,
    draw_whole,
)
from litelvlm.pipeline.report.records import PickedRecord
from litelvlm.pipeline.storage.store import Storage

_MAX_PHRASE, _MAX_ORIGIN = 160, 80  # characters in a caption


def draw_pictures(facts: Facts, storage: Storage, policy: UriPolicy) -> dict[str, list[dict[str, Any]]]:
    """Pictures of the lowest and the highest scores, of the pairs that agree least, of whole images, of empty answers
    and of failures. An image that cannot be had becomes a note."""
    source = SourceImages(storage, facts.config, policy)
    pairs = [(pair, source.file_of(pair.shard_id) or "") for pair in (facts.baseline.worst if facts.baseline else [])]
    shown = facts.examples
    wanted = [(pick.source_file, pick.source_row) for pick in (*facts.scores.worst, *facts.scores.best)]
    wanted += [(file, pair.masks.source_row) for pair, file in pairs]
    wanted += [_key(one) for one in (*(image.answers[0] for image in shown.images), *shown.empty, *shown.failed)]
    images = source.load(dict.fromkeys(wanted))
    return {
        "worst": [_of_pick(pick, images) for pick in facts.scores.worst],
        "best": [_of_pick(pick, images) for pick in facts.scores.best],
        "disagreeing": [_of_pair(pair, file, images) for pair, file in pairs],
        "whole": [_of_image(one, images) for one in shown.images],
        "empty": [_of_example(one, images) for one in shown.empty],
        "failed": [_of_example(one, images) for one in shown.failed],
    }


def _of_pick(pick: PickedRecord, images: dict[Key, SourceImage]) -> dict[str, Any]:
    picture = draw_picture(images[pick.source_file, pick.source_row], pick.size_hw, pick.mask_rle)
    return _caption(picture, pick.phrase, f"score {words.score(pick.score)}", pick.image_id)


def _of_pair(pair: Pair, file: str, images: dict[Key, SourceImage]) -> dict[str, Any]:
    image, masks = images[file, pair.masks.source_row], pair.masks
    picture = draw_picture(image, masks.size_hw, masks.pruned_rle, masks.unpruned_rle)
    phrase = image.phrases[masks.phrase_index] if masks.phrase_index < len(image.phrases) else ""
    return _caption(picture, phrase, f"IoU {words.score(masks.iou)}", f"row {masks.source_row}")


def _of_example(one: RecordExample, images: dict[Key, SourceImage]) -> dict[str, Any]:
    picture = draw_thumbnail(images[_key(one)])
    reason = words.clipped(one.error or "", _MAX_PHRASE)
    caption = _caption(picture, one.phrase, one.status, one.image_id)
    return caption | {"origin": f"{reason} · {caption['origin']}"} if reason else caption


def _of_image(image: WholeImage, images: dict[Key, SourceImage]) -> dict[str, Any]:
    """All masks of an image, each phrase beside its colour."""
    first = image.answers[0]
    masked = [one for one in image.answers if one.score is not None and one.mask_rle is not None]
    picture = draw_whole(images[_key(first)], first.size_hw or (0, 0), [one.mask_rle or "" for one in masked])
    colours = {id(one): charts.colour_swatch(colour_of(place)) for place, one in enumerate(masked)}
    figure = f"{len(masked)} of {words.count(image.num_answers)} phrases have a mask"
    if image.num_answers > len(image.answers):
        figure = f"the first {len(image.answers)} of {words.count(image.num_answers)} phrases"
    return _caption(picture, "", figure, first.image_id) | {
        "answers": [
            (colours.get(id(one)), words.clipped(one.phrase, _MAX_PHRASE),
             words.score(one.score) if id(one) in colours else one.status)
            for one in image.answers
        ],
    }  # fmt: skip


def _key(one: RecordExample) -> Key:
    return one.source_file, one.source_row


def _caption(picture: Picture, phrase: str, figure: str, origin: str) -> dict[str, Any]:
    return {
        "picture": picture,
        "uri": Markup(picture.uri) if picture.uri else None,  # base64 of our own
        "phrase": words.clipped(phrase, _MAX_PHRASE),
        "figure": figure,
        "origin": words.clipped(origin, _MAX_ORIGIN),
    }
