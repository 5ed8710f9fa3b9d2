"""What rules decide by, and the scores among it that are computed here.

Shapes: B rows (an image, or an image with one of its phrases), P phrases, V visual tokens, D the width of CLIP's vision
tower, E of its embeddings, W of the language model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of each row's tokens. Which of it a rule needs stands in its `Rule.needs`; the rest may be None.

    Attributes:
        context: BxV float32, see `context_scores`.
        similarity: BxPxV float32, see `similarity_scores`.
        phrase_mask: BxP bool, which phrases are real.
        attention: BxV float32, what `[CLS]` pays to each patch in the layer whose output the features are (-2): a
            softmax over `[CLS]` and all patches, the mean over heads.
        keys: BxVxK, that layer's keys, the mean over heads.
        last_attention: BxV float32, the same in the last layer, as a single head over the full width D.
        last_keys: BxVxD, the last layer's keys.
        patches: BxVxD, CLIP's patch features.
        projected: BxVxW, the same as the language model reads them.
        seeds: a number per row that stands for the image's content.
        seed: the configured one.
    """

    context: Tensor
    similarity: Tensor | None = None
    phrase_mask: Tensor | None = None
    attention: Tensor | None = None
    keys: Tensor | None = None
    last_attention: Tensor | None = None
    last_keys: Tensor | None = None
    patches: Tensor | None = None
    projected: Tensor | None = None
    seeds: Sequence[int] | None = None
    seed: int = 0

    def need(self, name: str) -> Tensor:
        """One of the tensors. Raises ValueError where it was not given."""
        found = getattr(self, name)
        if found is None:
            raise ValueError(f"evidence.{name}: the pruning rule needs it and it was not given")
        return found


def similarity_scores(visual_BVE: Tensor, text_BPE: Tensor) -> Tensor:
    """s = E_v . E_t, neither of them normalised; BxPxV float32."""
    import torch

    return torch.einsum("bve,bpe->bpv", visual_BVE.float(), text_BPE.float())


def context_scores(query_BD: Tensor, key_BVD: Tensor, value_BVD: Tensor) -> Tensor:
    """score_i = || softmax_i(q . k_i / sqrt(D)) * v_i ||_2; BxV float32.

    q is the `[CLS]` query, k and v are the patches' keys and values of CLIP's last block, over the full width D and not
    per head; q and k are L2-normalised first, as in the release.
    """
    import torch
    from torch.nn import functional as F

    query = F.normalize(query_BD.float(), dim=-1)
    key = F.normalize(key_BVD.float(), dim=-1)
    logits = torch.einsum("bd,bvd->bv", query, key) / math.sqrt(query.shape[-1])
    return logits.softmax(-1) * value_BVD.float().norm(dim=-1)


def cls_attention(query_BD: Tensor, key_BTD: Tensor, num_heads: int) -> Tensor:
    """What `[CLS]` pays to each patch, BxV float32: a softmax over all T = 1 + V tokens, then the mean over heads.

    Args:
        query_BD: the `[CLS]` query.
        key_BTD: keys of `[CLS]` and the patches.
        num_heads: of the layer, or 1 for a single head over the full width.
    """
    import torch

    query = query_BD.float().unflatten(-1, (num_heads, -1))
    key = key_BTD.float().unflatten(-1, (num_heads, -1))
    logits = torch.einsum("bhd,bthd->bht", query, key) / math.sqrt(query.shape[-1])
    return logits.softmax(-1).mean(1)[:, 1:]
