"""What runs together: pure planning over sizes, no tensors."""

from __future__ import annotations

from collections.abc import Sequence


def image_batches(num_phrases: Sequence[int], batch_images: int) -> list[list[int]]:
    """Groups of image indices to encode together, in order; images without phrases are left out.

    Args:
        num_phrases: how many phrases each image has.
        batch_images: images in a group at most.
    """
    asked = [index for index, count in enumerate(num_phrases) if count]
    return [asked[start : start + batch_images] for start in range(0, len(asked), batch_images)]


def prompt_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Groups of prompts to prefill together: neighbours in length, so that padding stays small.

    Args:
        lengths: tokens of each prompt.
        max_tokens: padded tokens in a group at most; a longer prompt runs alone.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and lengths[index] * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
