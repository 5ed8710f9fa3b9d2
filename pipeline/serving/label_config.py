"""Label Studio's labelling interface: with which tags masks are drawn, where images are and where phrases are typed."""

from __future__ import annotations

import xml.etree.ElementTree as trees
from dataclasses import dataclass

_BRUSHES = {"BrushLabels": "brushlabels", "Brush": "brush"}
_BITMASKS = {"BitmaskLabels": "bitmasklabels", "Bitmask": "bitmask"}
_KINDS = _BRUSHES | _BITMASKS
_MAX_CHARS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """What of an interface matters here.

    Attributes:
        control: name of the tag that masks are drawn with.
        kind: its type in results: brushlabels, brush, bitmasklabels or bitmask.
        image: name of the image's tag.
        image_field: of a task's data, that holds the image.
        labels: that the tag declares, in order; none where tasks bring their own.
        prompt: name of the text area of the whole image, whose lines are phrases; a smart one goes before others. None
            without.
        phrase: name of the text area of a region, that is shown its phrase; None without.
    """

    control: str
    kind: str
    image: str
    image_field: str
    labels: tuple[str, ...] = ()
    prompt: str | None = None
    phrase: str | None = None

    @property
    def is_bitmask(self) -> bool:
        """Whether masks are PNG instead of run lengths."""
        return self.kind in _BITMASKS.values()


def read_label_config(xml: str) -> LabelConfig:
    """Read an interface. Raises ValueError where it is damaged, or has no image with a brush or bitmask on it."""
    if len(xml) > _MAX_CHARS or "<!" in xml.replace("<!--", ""):
        raise ValueError("label_config: too long, or declares a document type")
    try:
        root = trees.fromstring(xml)
    except trees.ParseError as error:
        raise ValueError(f"label_config: is no XML: {error}") from None
    images = {node.get("name"): node.get("value", "") for node in root.iter("Image")}
    for node in root.iter():
        target, name = node.get("toName"), node.get("name")
        if node.tag in _KINDS and name and target in images and target:
            areas = [one for one in root.iter("TextArea") if one.get("toName") == target and one.get("name")]
            areas.sort(key=lambda one: one.get("smart") != "true")
            return LabelConfig(
                control=name,
                kind=_KINDS[node.tag],
                image=target,
                image_field=images[target].lstrip("$"),
                labels=tuple(one.get("value", "") for one in node.iter("Label") if one.get("value")),
                prompt=_name(areas, per_region=False),
                phrase=_name(areas, per_region=True),
            )
    raise ValueError("label_config: has no <BrushLabels> or <BitmaskLabels> for an <Image>")


def _name(areas: list[trees.Element], *, per_region: bool) -> str | None:
    return next((one.get("name") for one in areas if (one.get("perRegion") == "true") == per_region), None)
