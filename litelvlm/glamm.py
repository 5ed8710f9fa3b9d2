"""GLaMM and its like, assembled from transformers' LLaMA and SAM parts and open_clip's towers: modules, no batching, no
files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from litelvlm.clip_encoder import ClipEncoder
from litelvlm.config import GlammConfig, LlmSizes
from litelvlm.grounding_encoder import GroundingEncoder


class GlammModel(nn.Module):
    """The network.

    `clip`, `llm`, `projector` and the grounding encoder's image encoder run in the chosen dtype; the heads that turn a
    hidden state into a mask (`text_hidden_fcs`, the mask decoder) always run in float32: they cost next to nothing and
    decide on which side of the threshold a pixel falls. `lm_head` is there if it is asked for, in float32 as well.
    """

    def __init__(self, config: GlammConfig, *, lm_head: bool = False) -> None:
        super().__init__()
        self.config = config
        width, channels = config.llm.hidden_size, config.sam.output_channels
        self.clip = ClipEncoder(config.clip)
        self.projector = _projector(config.description.projector, config.clip.vision_width, width)
        self.llm = LlamaModel(llama_config(config.llm))
        self.text_hidden_fcs = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, channels))
        self.grounding_encoder = GroundingEncoder(config.sam)
        self.lm_head = nn.Linear(width, config.llm.vocab_size, bias=False) if lm_head else None

    @property
    def float32_modules(self) -> tuple[nn.Module, ...]:
        """Modules that stay in float32 whatever the model's dtype."""
        grounding = self.grounding_encoder
        heads = (self.text_hidden_fcs,) if self.lm_head is None else (self.text_hidden_fcs, self.lm_head)
        return (*heads, grounding.mask_decoder, grounding.positional_embedding, grounding.no_mask_embed)

    @property
    def dtype(self) -> torch.dtype:
        return self.llm.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.llm.embed_tokens.weight.device

    def cast(self, dtype: torch.dtype) -> GlammModel:
        """Casts the model in place, keeping `float32_modules` in float32."""
        keep = {id(param) for module in self.float32_modules for param in module.parameters()}
        for param in self.parameters():
            param.data = param.data.to(torch.float32 if id(param) in keep else dtype)
        return self

    def restore_buffers(self, device: torch.device) -> None:
        """Rebuilds buffers that a checkpoint does not hold, after the model was built on the meta device."""
        self.clip.restore_buffers(device)
        self.llm.rotary_emb = LlamaRotaryEmbedding(self.llm.config).to(device)

    def mask_prompts(self, hidden: Tensor) -> Tensor:
        """PxC float32 prompt embeddings from hidden states PxW just before each `[SEG]`."""
        return self.text_hidden_fcs(hidden.float())

    def token_probability(self, hidden: Tensor, token_id: int) -> Tensor | None:
        """P float32, how likely a token is to follow PxW hidden states, by `lm_head`; None without it."""
        if self.lm_head is None:
            return None
        logits = self.lm_head(hidden.float())
        return (logits[:, token_id] - logits.logsumexp(-1)).exp()

    def rejection(self, hidden: Tensor, token_id: int) -> tuple[Tensor, Tensor]:
        """How likely a token is to follow PxW hidden states, P float32, and whether it is the likeliest, P bool. Needs
        `lm_head`."""
        assert self.lm_head is not None, "a model that rejects is loaded with its lm_head"
        logits = self.lm_head(hidden.float())
        return (logits[:, token_id] - logits.logsumexp(-1)).exp(), logits.argmax(-1) == token_id


def _projector(kind: str, vision_width: int, width: int) -> nn.Module:
    """One of `litelvlm.models.description.PROJECTORS`."""
    first = nn.Linear(vision_width, width)
    return first if kind == "linear" else nn.Sequential(first, nn.GELU(), nn.Linear(width, width))


def llama_config(sizes: LlmSizes) -> LlamaConfig:
    """transformers' configuration for these sizes."""
    return LlamaConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        intermediate_size=sizes.intermediate_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        num_key_value_heads=sizes.num_key_value_heads,
        max_position_embeddings=sizes.max_position_embeddings,
        rms_norm_eps=sizes.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": sizes.rope_theta},
        pad_token_id=None,
        use_cache=False,
    )
