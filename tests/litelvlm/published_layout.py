"""Names and shapes of a published checkpoint, written down from the published layout itself.

`test_weight_names` holds this against the recorded tiny checkpoint, whose names are the release's own, so that the same
rules at full size stand for `MBZUAI/GLaMM-RefSeg` and `openai/clip-vit-large-patch14-336`.
"""

from __future__ import annotations

from litelvlm.config import ClipSizes, LlmSizes, SamSizes

Shapes = dict[str, tuple[int, ...]]


def glamm_shapes(llm: LlmSizes, sam: SamSizes, clip: ClipSizes) -> Shapes:
    """LLaMA, projector, `text_hidden_fcs` and SAM, as GLaMM's state dict names them."""
    width, channels = llm.hidden_size, sam.output_channels
    shapes: Shapes = {
        "model.embed_tokens.weight": (llm.vocab_size, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (llm.vocab_size, width),
        **_linear("model.mm_projector.0", clip.vision_width, width),
        **_linear("model.mm_projector.2", width, width),
        **_linear("model.text_hidden_fcs.0.0", width, width),
        **_linear("model.text_hidden_fcs.0.2", width, channels),
    }
    for i in range(llm.num_hidden_layers):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{p}_proj.weight": (width, width) for p in "qkvo"}
        shapes |= {f"{layer}.mlp.{p}_proj.weight": (llm.intermediate_size, width) for p in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (width, llm.intermediate_size)}
        shapes |= {f"{layer}.{norm}_layernorm.weight": (width,) for norm in ("input", "post_attention")}
    return shapes | {f"model.grounding_encoder.{name}": shape for name, shape in sam_shapes(sam).items()}


def lisa_shapes(llm: LlmSizes, sam: SamSizes, clip: ClipSizes) -> Shapes:
    """As LISA's state dict names them: SAM is `visual_model`, the projector a single layer."""
    shapes = {
        name.replace("model.grounding_encoder.", "model.visual_model."): shape
        for name, shape in glamm_shapes(llm, sam, clip).items()
        if not name.startswith("model.mm_projector.")
    }
    return shapes | _linear("model.mm_projector", clip.vision_width, llm.hidden_size)


def sam_shapes(sam: SamSizes) -> Shapes:
    """SAM under its original parameter names."""
    width, channels = sam.hidden_size, sam.output_channels
    shapes: Shapes = {
        "image_encoder.pos_embed": (1, sam.grid_size, sam.grid_size, width),
        "image_encoder.patch_embed.proj.weight": (width, 3, sam.patch_size, sam.patch_size),
        "image_encoder.patch_embed.proj.bias": (width,),
        "image_encoder.neck.0.weight": (channels, width, 1, 1),
        "image_encoder.neck.2.weight": (channels, channels, 3, 3),
        **_norm("image_encoder.neck.1", channels),
        **_norm("image_encoder.neck.3", channels),
    }
    for i in range(sam.num_hidden_layers):
        block = f"image_encoder.blocks.{i}"
        side = sam.grid_size if i in sam.global_attn_indexes else sam.window_size
        shapes |= {f"{block}.attn.rel_pos_{a}": (2 * side - 1, width // sam.num_attention_heads) for a in "hw"}
        shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.attn.qkv", width, 3 * width) | _linear(f"{block}.attn.proj", width, width)
        shapes |= _linear(f"{block}.mlp.lin1", width, 4 * width) | _linear(f"{block}.mlp.lin2", 4 * width, width)
    return shapes | _prompt_encoder(channels) | _mask_decoder(sam)


def _prompt_encoder(channels: int) -> Shapes:
    prefix = "prompt_encoder"
    shapes: Shapes = {
        f"{prefix}.pe_layer.positional_encoding_gaussian_matrix": (2, channels // 2),
        f"{prefix}.not_a_point_embed.weight": (1, channels),
        f"{prefix}.no_mask_embed.weight": (1, channels),
        f"{prefix}.mask_downscaling.0.weight": (4, 1, 2, 2),
        f"{prefix}.mask_downscaling.0.bias": (4,),
        f"{prefix}.mask_downscaling.3.weight": (16, 4, 2, 2),
        f"{prefix}.mask_downscaling.3.bias": (16,),
        f"{prefix}.mask_downscaling.6.weight": (channels, 16, 1, 1),
        f"{prefix}.mask_downscaling.6.bias": (channels,),
        **_norm(f"{prefix}.mask_downscaling.1", 4),
        **_norm(f"{prefix}.mask_downscaling.4", 16),
    }
    return shapes | {f"{prefix}.point_embeddings.{i}.weight": (1, channels) for i in range(4)}


def _mask_decoder(sam: SamSizes) -> Shapes:
    width, half = sam.mask_decoder_hidden_size, sam.mask_decoder_hidden_size // 2
    prefix = "mask_decoder"
    shapes: Shapes = {
        f"{prefix}.iou_token.weight": (1, width),
        f"{prefix}.mask_tokens.weight": (4, width),
        f"{prefix}.output_upscaling.0.weight": (width, width // 4, 2, 2),
        f"{prefix}.output_upscaling.0.bias": (width // 4,),
        f"{prefix}.output_upscaling.3.weight": (width // 4, width // 8, 2, 2),
        f"{prefix}.output_upscaling.3.bias": (width // 8,),
        **_norm(f"{prefix}.output_upscaling.1", width // 4),
        **_norm(f"{prefix}.transformer.norm_final_attn", width),
        **_attention(f"{prefix}.transformer.final_attn_token_to_image", width, half),
        **_mlp(f"{prefix}.iou_prediction_head", width, sam.iou_head_hidden_dim, 4),
    }
    for i in range(4):
        shapes |= _mlp(f"{prefix}.output_hypernetworks_mlps.{i}", width, width, width // 8)
    for i in range(2):
        layer = f"{prefix}.transformer.layers.{i}"
        shapes |= _attention(f"{layer}.self_attn", width, width)
        shapes |= _attention(f"{layer}.cross_attn_token_to_image", width, half)
        shapes |= _attention(f"{layer}.cross_attn_image_to_token", width, half)
        shapes |= _linear(f"{layer}.mlp.lin1", width, sam.mask_decoder_mlp_dim)
        shapes |= _linear(f"{layer}.mlp.lin2", sam.mask_decoder_mlp_dim, width)
        for n in range(1, 5):
            shapes |= _norm(f"{layer}.norm{n}", width)
    return shapes


def clip_shapes(clip: ClipSizes) -> Shapes:
    """Both CLIP towers under Hugging Face's names."""
    vision, text = clip.vision_width, clip.text_width
    shapes: Shapes = {
        "logit_scale": (),
        "visual_projection.weight": (clip.embed_dim, vision),
        "text_projection.weight": (clip.embed_dim, text),
        "vision_model.embeddings.class_embedding": (vision,),
        "vision_model.embeddings.patch_embedding.weight": (vision, 3, clip.patch_size, clip.patch_size),
        "vision_model.embeddings.position_embedding.weight": (clip.num_patches + 1, vision),
        "text_model.embeddings.token_embedding.weight": (clip.vocab_size, text),
        "text_model.embeddings.position_embedding.weight": (clip.context_length, text),
        **_norm("vision_model.pre_layrnorm", vision),
        **_norm("vision_model.post_layernorm", vision),
        **_norm("text_model.final_layer_norm", text),
    }
    towers = [
        ("vision_model", vision, clip.vision_mlp_dim, clip.vision_layers),
        ("text_model", text, clip.text_mlp_dim, clip.text_layers),
    ]
    for tower, width, mlp_dim, layers in towers:
        for i in range(layers):
            layer = f"{tower}.encoder.layers.{i}"
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= _linear(f"{layer}.self_attn.{projection}", width, width)
            shapes |= _linear(f"{layer}.mlp.fc1", width, mlp_dim) | _linear(f"{layer}.mlp.fc2", mlp_dim, width)
            shapes |= _norm(f"{layer}.layer_norm1", width) | _norm(f"{layer}.layer_norm2", width)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _attention(name: str, width: int, internal: int) -> Shapes:
    shapes = _linear(f"{name}.out_proj", internal, width)
    for projection in "qkv":
        shapes |= _linear(f"{name}.{projection}_proj", width, internal)
    return shapes


def _mlp(name: str, inputs: int, hidden: int, outputs: int) -> Shapes:
    return (
        _linear(f"{name}.layers.0", inputs, hidden)
        | _linear(f"{name}.layers.1", hidden, hidden)
        | _linear(f"{name}.layers.2", hidden, outputs)
    )
