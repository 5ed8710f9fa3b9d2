"""Identity of an image."""

from __future__ import annotations

from litelvlm.pipeline.serving.questions import image_key


def test_a_key_is_of_bytes_and_model() -> None:
    assert image_key(b"a", "m") == image_key(b"a", "m")
    assert len({image_key(b"a", "m"), image_key(b"b", "m"), image_key(b"a", "n")}) == 3
