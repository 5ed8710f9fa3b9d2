"""Prompts laid end to end, as tensors: what LLaMA's forward pass over them is given.

Shapes: N prompts of T tokens together after their common prefix, S the longest of them, R hidden states to read, W the
width, K key-value heads of size D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

KeysValues = tuple[Tensor, Tensor]  # PxKxD each, of the common prefix
Attend = Callable[[Tensor, Tensor, Tensor, KeysValues], Tensor]  # queries TxHxD, keys and values TxKxD to TxHxD


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """Which stretches of the T tokens attend to which, as `litelvlm.engine.segments.Segments`, on the device.

    Attributes:
        own, branch_ends, visual_ends: int32, as there.
        whole, prefix_ends: int32, 0 and T, 0 and P.
        longest, longest_text, num_retained: as there.
    """

    own: Tensor
    whole: Tensor
    prefix_ends: Tensor
    longest: int
    branch_ends: Tensor | None = None
    longest_text: int = 0
    visual_ends: Tensor | None = None
    num_retained: int = 0


@dataclass(frozen=True, kw_only=True)
class PackedPrompts:
    """Prompts laid end to end.

    Attributes:
        embeds: TxW input embeddings.
        position_ids: T int64.
        rows, columns: T int64, each token's prompt and its place there, the prefix not counted.
        num_rows: N.
        width: S.
        read: R int64, which of the T tokens' last hidden states are wanted, prompt by prompt.
        read_slots: R int64, each one's number among those of its prompt.
        num_slots: the most that one prompt wants.
        branches: T int64 or None: 0 for what all see, else the branch that only itself sees.
        stretches: for attention that takes them; with branches, the visual tokens of all prompts come first.
    """

    embeds: Tensor
    position_ids: Tensor
    rows: Tensor
    columns: Tensor
    num_rows: int
    width: int
    read: Tensor
    read_slots: Tensor
    num_slots: int
    branches: Tensor | None = None
    stretches: Stretches | None = None
