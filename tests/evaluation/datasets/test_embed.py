"""Images read into the table: from below the root alone, whole, and as large as their masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ExifTags, Image

from litelvlm.evaluation.datasets.embed import ImageEmbedder
from litelvlm.evaluation.datasets.truth import Expression, TrueImage
from litelvlm.pipeline.masks import encode_mask
from tests.evaluation.datasets.refer_files import file_name, picture, true_mask

ROTATIONS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}


def _image(path: str | None = file_name(7), data: bytes | None = None) -> TrueImage:
    """An image of 60x40 pixels, as its mask says."""
    expression = Expression(text="man", mask=encode_mask(true_mask(101, image_id=7)))
    return TrueImage(image_id="7", path=path, data=data, expressions=(expression,))


def _save(root: Path, image: Image.Image, orientation: int | None = None) -> bytes:
    tag = Image.Exif()
    if orientation is not None:
        tag[ExifTags.Base.Orientation] = orientation
    image.save(root / file_name(7), "jpeg", exif=tag)
    return (root / file_name(7)).read_bytes()


def _embedded(root: Path, *images: TrueImage) -> list[TrueImage]:
    return list(ImageEmbedder(str(root), {}).embed(images))


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    data = _save(tmp_path, picture(7))
    [image] = _embedded(tmp_path, _image())
    assert (image.data, image.image_id, image.expressions) == (data, "7", _image().expressions)


def test_what_has_its_bytes_or_no_name_is_left_as_it_is(tmp_path: Path) -> None:
    images = [_image(data=b"own"), _image(path=None)]
    assert _embedded(tmp_path, *images) == images


@pytest.mark.parametrize("orientation", sorted(ROTATIONS))
def test_images_with_a_rotation_tag_are_counted(tmp_path: Path, orientation: int) -> None:
    _save(tmp_path, picture(7).transpose(ROTATIONS[orientation]), orientation)
    embedder = ImageEmbedder(str(tmp_path), {})
    assert len(list(embedder.embed([_image()]))) == embedder.turned == 1


def test_an_image_of_another_size_than_its_masks_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, picture(9))
    with pytest.raises(ValueError, match=r"image 7: .* has 30x50 pixels, and 60x40 in the annotations; name the dir"):
        _embedded(tmp_path, _image())


def test_masks_in_the_frame_before_the_rotation_are_refused(tmp_path: Path) -> None:
    _save(tmp_path, picture(7), orientation=6)
    with pytest.raises(ValueError, match=r"40x60 pixels once its EXIF tag has turned it upright, and 60x40 in the"):
        _embedded(tmp_path, _image())


@pytest.mark.parametrize(
    ("path", "reason"), [("gone.jpg", "not_found"), ("../secret.jpg", "refused"), ("page.jpg", "html: a web page")]
)
def test_what_cannot_be_read_is_named(tmp_path: Path, path: str, reason: str) -> None:
    root = tmp_path / "train2014"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(_save(root, picture(7)))
    (root / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=rf"--embed-images {root}: image 7: {reason}"):
        _embedded(root, _image(path=path))
