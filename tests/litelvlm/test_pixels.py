"""Pixels as the encoders read them: normalised, then padded."""

from __future__ import annotations

import numpy as np
import torch

from litelvlm.pixels import normalize_clip, normalize_sam

CPU = torch.device("cpu")


def test_clip_reads_fractions_of_255_with_openais_mean_and_deviation() -> None:
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[0, 1] = (255, 0, 51)
    found = normalize_clip([pixels], CPU, torch.float32)
    assert found.shape == (1, 3, 2, 2)
    expected = [(1 - 0.48145466) / 0.26862954, -0.4578275 / 0.26130258, (0.2 - 0.40821073) / 0.27577711]
    torch.testing.assert_close(found[0, :, 0, 1], torch.tensor(expected))


def test_sam_reads_values_of_255_and_padding_is_zero_after_normalising() -> None:
    wide, tall = np.full((1, 3, 3), 255, np.uint8), np.zeros((4, 2, 3), np.uint8)
    found = normalize_sam([wide, tall], 4, CPU, torch.float32)
    assert found.shape == (2, 3, 4, 4)
    white = torch.tensor([(255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375])
    torch.testing.assert_close(found[0, :, 0, 2], white)
    assert found[0, :, 1:].abs().sum() == found[0, :, :, 3:].abs().sum() == 0
    torch.testing.assert_close(found[1, :, 3, 1], -torch.tensor([123.675 / 58.395, 116.28 / 57.12, 103.53 / 57.375]))
    assert found[1, :, :, 2:].abs().sum() == 0


def test_pixels_that_nobody_may_write_to_or_that_lie_apart_are_read() -> None:
    whole = np.arange(96, dtype=np.uint8).reshape(4, 8, 3)
    whole.flags.writeable = False
    found = normalize_sam([whole[:, ::2]], 4, CPU, torch.float32)
    assert torch.equal(found, normalize_sam([whole[:, ::2].copy()], 4, CPU, torch.float32))


def test_they_come_in_the_models_dtype() -> None:
    pixels = [np.zeros((2, 2, 3), np.uint8)]
    assert normalize_clip(pixels, CPU, torch.bfloat16).dtype == torch.bfloat16
    assert normalize_sam(pixels, 2, CPU, torch.bfloat16).dtype == torch.bfloat16
