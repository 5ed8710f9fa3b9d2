"""What runs together: pure planning over sizes, no tensors."""

from __future__ import annotations

from collections.abc import Sequence


def image_batches(
    num_phrases: Sequence[int], batch_images: int, *, tokens: Sequence[int] | None = None, least_tokens: int = 0
) -> list[list[int]]:
    """Groups of image indices to encode together, in order; images without phrases are left out.

    Args:
        num_phrases: how many phrases each image has.
        batch_images: images in a group, fewer in the last one.
        tokens: what the language model reads of each image; then a group grows by as many images again, as often as
            the whole group has fewer tokens than `least_tokens`.
        least_tokens: of a group that need not grow.
    """
    asked = [index for index, count in enumerate(num_phrases) if count]
    parts = [asked[start : start + batch_images] for start in range(0, len(asked), batch_images)]
    if tokens is None:
        return parts
    groups: list[list[int]] = []
    for part in parts:
        if groups and sum(tokens[index] for index in groups[-1]) < least_tokens:
            groups[-1] += part
        else:
            groups.append(part)
    return groups


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
