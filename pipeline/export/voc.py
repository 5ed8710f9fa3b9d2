"""Pascal VOC: an XML file an image with boxes, palette images with classes and objects."""

from __future__ import annotations

import io
from collections import Counter
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.label_maps import Map, hidden_line, paint
from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject

_MOST = 254  # classes, or objects of an image: 0 is the background and 255 means "not to be judged"


def palette() -> list[int]:
    """VOC's colors, three values each: the bits of the number, dealt out to red, green and blue from the top."""
    colors = np.zeros((256, 3), np.int64)
    numbers = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * bit + channel)) & 1) << (7 - bit)
    return [int(value) for value in colors.ravel()]


class Voc(Format):
    """`Annotations/`, `SegmentationClass/`, `SegmentationObject/`, `ImageSets/`, `labelmap.txt`, `JPEGImages/` on
    request."""

    unique_stems = True

    def check(self) -> None:
        if len(self.classes) > _MOST:
            raise ValueError(f"Pascal VOC has 8 bits a pixel: {len(self.classes)} classes are more than {_MOST}")

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        counts: Counter[str] = Counter()
        names = []
        for image in images:
            if len(image.objects) > _MOST:
                counts["left_out"] += len(image.objects) - _MOST
                best = sorted(image.objects, key=lambda one: -one.score)[:_MOST]
                image.objects = [one for one in image.objects if one in best]
            classes, objects = paint(image, counts)
            names.append(image.stem)
            files.write(f"Annotations/{image.stem}.xml", self._xml(image))
            files.write(f"SegmentationClass/{image.stem}.png", _with_palette(classes))
            files.write(f"SegmentationObject/{image.stem}.png", _with_palette(objects))
            if image.data is not None:
                files.write(f"JPEGImages/{image.file_name}", image.data)
        listed = "".join(f"{name}\n" for name in names).encode()
        for task in ("Main", "Segmentation"):
            files.write(f"ImageSets/{task}/{part}.txt", listed)
        return counts

    def finish(self, parts: list[str], files: Files) -> None:
        colors = palette()
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        for number, one in enumerate(self.classes, start=1):
            color = ",".join(map(str, colors[3 * number : 3 * number + 3]))
            lines.append(f"{one.name.replace(':', ' ')}:{color}::")
        files.write("labelmap.txt", "".join(f"{line}\n" for line in lines).encode())

    def remarks(self, counts: Counter[str]) -> list[str]:
        left_out = f"{counts['left_out']} masks are left out: an image of VOC has {_MOST} objects at most"
        return [*hidden_line(counts), *([left_out] if counts["left_out"] else [])]

    def _xml(self, image: MaskedImage) -> bytes:
        root = ElementTree.Element("annotation")
        _add(root, folder="JPEGImages", filename=image.file_name)
        _add(_child(root, "source"), database=image.source_id)
        _add(_child(root, "size"), width=image.width, height=image.height, depth=3)
        _add(root, segmented=1 if image.objects else 0)
        for one in image.objects:
            self._add_object(root, one)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=False) + b"\n"

    def _add_object(self, root: ElementTree.Element, one: MaskedObject) -> None:
        entry = _child(root, "object")
        name = self.classes[one.class_index].name.replace(":", " ")
        _add(entry, name=name, pose="Unspecified", truncated=0, difficult=0, occluded=0)
        left, top, width, height = one.mask.bbox_xywh
        _add(_child(entry, "bndbox"), xmin=left, ymin=top, xmax=left + width, ymax=top + height)
        attributes = _child(entry, "attributes")
        for name, value in (one.attributes | {"score": f"{one.score:g}"}).items():
            _add(_child(attributes, "attribute"), name=name, value=value)


def _child(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag)


def _add(parent: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        _child(parent, tag).text = _printable(str(value))


def _printable(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return "".join(
        char if char in "\t\n" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char > "\uffff" else " "
        for char in text
    )


def _with_palette(values: Map) -> bytes:
    image = Image.fromarray(values.astype(np.uint8)).convert("P")
    image.putpalette(palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
