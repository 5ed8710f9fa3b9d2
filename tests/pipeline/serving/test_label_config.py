"""Labelling interfaces of Label Studio."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.review.formats.label_studio import label_config
from litelvlm.pipeline.serving.label_config import read_label_config


def test_the_interface_of_an_export_is_understood() -> None:
    brush = read_label_config(label_config().decode())
    assert (brush.control, brush.kind, brush.image, brush.image_field) == ("brush", "brushlabels", "image", "image")
    assert (brush.phrase, brush.prompt, brush.is_bitmask, brush.labels) == ("phrase", None, False, ())
    bitmask = read_label_config(label_config(["a & b", "c"]).decode())
    assert (bitmask.kind, bitmask.is_bitmask, bitmask.labels) == ("bitmasklabels", True, ("a & b", "c"))


def test_a_smart_text_area_goes_before_others() -> None:
    areas = '<TextArea name="notes" toName="i"/><TextArea name="prompt" toName="i" smart="true"/>'
    made = read_label_config(f'<View><Image name="i" value="$u"/><Brush name="b" toName="i"/>{areas}</View>')
    assert (made.prompt, made.kind, made.image_field) == ("prompt", "brush", "u")


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<View>",
        "<View><Image name='i' value='$i'/></View>",
        "<View><BrushLabels name='b' toName='x'/><Image name='i' value='$i'/></View>",
        "<!DOCTYPE v [<!ENTITY a 'aaaa'>]><View>&a;</View>",
        "x" * 1_000_001,
    ],
)
def test_what_has_no_masks_is_refused(xml: str) -> None:
    with pytest.raises(ValueError, match="label_config"):
        read_label_config(xml)
