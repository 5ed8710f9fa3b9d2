"""Configuration of the model, the prompt and the pruning: frozen, validated, free of tensors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from litelvlm.limits import check_divides, check_finite, check_int_at_least, check_sizes, shown
from litelvlm.models.description import ModelDescription
from litelvlm.models.glamm import GLAMM
from litelvlm.models.registry import described_as
from litelvlm.rules.registry import RULE_BOOK, rule_names

RULES = ("none", *rule_names())
ORDERS = ("auto", "release", "raster")
RESIZING = ("exact", "fast")
POSITIONS = ("compact", "original", "auto")
LAYOUTS = ("separate", "rounds", "shared")
DEVICES = ("auto", "cpu", "cuda")
PHRASE_CASES = ("lower", "keep")
PRECISIONS = ("auto", "bf16", "fp32", "fp8")
SIGNALS = ("seg", "clip")  # what can be asked of a mask beside its score
WEIGHT_DTYPES = ("bfloat16", "float32")  # of weights in files
UNPRUNED = "none"  # the rule that keeps every token
DEFAULT_QUESTION = GLAMM.question
DEFAULT_ANSWER = GLAMM.answer
SEG_TOKEN = "[SEG]"
PHRASE_FIELD = "{phrase}"


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is not known; choose one of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """Which visual tokens of an image the language model sees.

    Args:
        num_retain_tokens: the budget R; None, or more than the model's number of visual tokens V, means unpruned (all V
            tokens in raster order). R = V keeps every token too, but in the order that `order` says: the release
            reorders tokens even then, which `raster` avoids.
        rule: one of `RULES`; see `litelvlm.rules` for each rule's definition.
        order: in what order the kept tokens are given to the language model. "release" is context tokens by rank and
            then similarity tokens by index, "raster" is by patch index, "auto" is that of the rule's own paper:
            "release" for the rule `release`, "raster" where nothing else is said. `fastv` knows raster order only.
        positions: "compact" numbers the kept tokens consecutively (as the release does), "original" lets each keep
            the position id that it would have in the unpruned prompt, as `fastv` and other rules whose definition says
            so always do; "auto" is what the model's description says (`for_model`).
        seed: seeds the rule `random`; the choice also depends on the image's pixels, never on the batch.
        fastv_layer: the layers of the language model that read all tokens under the rule `fastv`, its K.
    """

    num_retain_tokens: int | None = None
    rule: str = "release"
    order: str = "auto"
    positions: str = "compact"
    seed: int = 0
    fastv_layer: int = 2

    def __post_init__(self) -> None:
        if self.num_retain_tokens is not None:
            check_int_at_least("num_retain_tokens", self.num_retain_tokens, 1)
        check_int_at_least("seed", self.seed, 0)
        if self.seed >= 2**63:
            raise ValueError(f"seed is {self.seed}; it must be below 2**63")
        check_int_at_least("fastv_layer", self.fastv_layer, 1)
        _one_of("rule", self.rule, RULES)
        _one_of("order", self.order, ORDERS)
        _one_of("positions", self.positions, POSITIONS)

    def is_unpruned(self, num_visual_tokens: int) -> bool:
        """Whether the rule is not applied at all."""
        return self.rule == "none" or self.num_retain_tokens is None or self.num_retain_tokens > num_visual_tokens

    def budget(self, num_visual_tokens: int) -> int:
        """The number of tokens kept out of `num_visual_tokens`."""
        if self.is_unpruned(num_visual_tokens) or self.num_retain_tokens is None:
            return num_visual_tokens
        return self.num_retain_tokens

    @property
    def inside_llm(self) -> bool:
        """Whether tokens are dropped by the language model itself, whose first layers read all of them."""
        return self.rule == "fastv"

    def entering(self, num_visual_tokens: int) -> int:
        """The number of visual tokens that the language model's first layers read, out of `num_visual_tokens`."""
        return num_visual_tokens if self.inside_llm else self.budget(num_visual_tokens)

    @property
    def uses_release_order(self) -> bool:
        return self.order == "release" or (self.order == "auto" and self.rule == "release")

    @property
    def uses_own_order(self) -> bool:
        """Whether the order is that of the rule's paper."""
        return self.order == "auto"

    @property
    def uses_original_positions(self) -> bool:
        own = RULE_BOOK[self.rule].positions if self.rule in RULE_BOOK else ""
        return "original" in (self.positions, own) or self.inside_llm

    def for_model(self, description: ModelDescription) -> PruningConfig:
        """The same with the model's own position ids in place of "auto"."""
        return dataclasses.replace(self, positions=description.positions) if self.positions == "auto" else self


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """How a phrase is asked, and how the model is taken to answer (teacher-forced).

    Args:
        question: with `{phrase}` once; its spaces count where nothing strips them (`litelvlm.tokenizer`).
        answer: with `[SEG]` once, and with `{phrase}` at most once, before it.
        lower_case: whether phrases are lower-cased, as the releases do; their sentences keep their case.
    """

    question: str = DEFAULT_QUESTION
    answer: str = DEFAULT_ANSWER
    lower_case: bool = True

    def __post_init__(self) -> None:
        for name in ("question", "answer"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: must be a string, not {getattr(self, name)!r}")
        if self.question.count(PHRASE_FIELD) != 1:
            raise ValueError(f"question: must hold {PHRASE_FIELD} exactly once, not {self.question!r}")
        if SEG_TOKEN in self.question:
            raise ValueError(f"question: must not hold {SEG_TOKEN}; it belongs into the answer")
        if self.answer.count(SEG_TOKEN) != 1:
            raise ValueError(f"answer: must hold {SEG_TOKEN} exactly once, not {self.answer!r}")
        if PHRASE_FIELD in self.answer.partition(SEG_TOKEN)[2] or self.answer.count(PHRASE_FIELD) > 1:
            raise ValueError(f"answer: may hold {PHRASE_FIELD} once, before {SEG_TOKEN}, not {self.answer!r}")
        for name in ("question", "answer"):
            if "<image>" in getattr(self, name):
                raise ValueError(f"{name}: must not hold <image>; the prompt layout places the image")

    def ask(self, phrase: str) -> str:
        """The question text for a phrase; this text is also what CLIP's text tower scores visual tokens against."""
        return self.question.replace(PHRASE_FIELD, phrase)


@dataclass(frozen=True, kw_only=True)
class SamSizes:
    """Sizes of the grounding encoder (SAM). The defaults are ViT-H, which published checkpoints hold."""

    image_size: int = 1024
    patch_size: int = 16
    hidden_size: int = 1280
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    global_attn_indexes: tuple[int, ...] = (7, 15, 23, 31)
    window_size: int = 14
    output_channels: int = 256
    mask_decoder_hidden_size: int = 256
    mask_decoder_mlp_dim: int = 2048
    mask_decoder_num_attention_heads: int = 8
    iou_head_hidden_dim: int = 256

    def __post_init__(self) -> None:
        check_sizes("sam", self, ("global_attn_indexes",))
        layers = range(self.num_hidden_layers)
        if not isinstance(self.global_attn_indexes, list | tuple) or not all(
            isinstance(index, int) and index in layers for index in self.global_attn_indexes
        ):
            raise ValueError("sam.global_attn_indexes: must be a list of layers")
        object.__setattr__(self, "global_attn_indexes", tuple(self.global_attn_indexes))
        check_divides(
            "sam",
            self,
            ("image_size", "patch_size"),
            ("hidden_size", "num_attention_heads"),
            ("mask_decoder_hidden_size", "mask_decoder_num_attention_heads"),
        )
        if self.mask_decoder_hidden_size != self.output_channels:
            raise ValueError("sam.mask_decoder_hidden_size: must equal sam.output_channels")

    @property
    def grid_size(self) -> int:
        """Patches along one side of the square input."""
        return self.image_size // self.patch_size

    @property
    def low_res_size(self) -> int:
        """Side of the low-resolution mask logits."""
        return 4 * self.grid_size


@dataclass(frozen=True, kw_only=True)
class ClipSizes:
    """Sizes of both CLIP towers. The defaults are ViT-L/14-336."""

    image_size: int = 336
    patch_size: int = 14
    vision_width: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    vision_mlp_dim: int = 4096
    embed_dim: int = 768
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_mlp_dim: int = 3072
    vocab_size: int = 49408
    context_length: int = 77
    quick_gelu: bool = True

    def __post_init__(self) -> None:
        check_sizes("clip", self, ("quick_gelu",))
        check_divides("clip", self, ("vision_width", "vision_heads"), ("text_width", "text_heads"))
        if self.patch_size > self.image_size:
            raise ValueError("clip.patch_size: must not be larger than image_size")
        if self.vision_layers < 2:
            raise ValueError("clip.vision_layers: must be at least 2, since features are the input of the last block")

    @property
    def num_patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, kw_only=True)
class LlmSizes:
    """Sizes of the LLaMA language model. The defaults are Vicuna-7B with GLaMM's added tokens."""

    vocab_size: int = 32007
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        check_sizes("config", self, ("rms_norm_eps", "rope_theta"))
        check_finite("config.rms_norm_eps", self.rms_norm_eps, positive=True)
        check_finite("config.rope_theta", self.rope_theta, positive=True)
        check_divides(
            "config", self, ("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")
        )


@dataclass(frozen=True, kw_only=True)
class ScoreCalibration:
    """Coefficients of the confidence score; see `litelvlm.scores`."""

    bias: float = 0.0
    iou: float = 0.5
    stability: float = 0.5

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check_finite(f"calibration.{item.name}", getattr(self, item.name))


@dataclass(frozen=True, kw_only=True)
class GlammConfig:
    """Everything that shapes the model: which it is, and its sizes."""

    description: ModelDescription = GLAMM

    llm: LlmSizes = field(default_factory=LlmSizes)
    sam: SamSizes = field(default_factory=SamSizes)
    clip: ClipSizes = field(default_factory=ClipSizes)
    calibration: ScoreCalibration = field(default_factory=ScoreCalibration)

    @property
    def num_visual_tokens(self) -> int:
        """V: the number of visual tokens of an image before pruning."""
        return self.clip.num_patches

    @property
    def template(self) -> PromptTemplate:
        """How the model is asked unless another template is given."""
        return PromptTemplate(question=self.description.question, answer=self.description.answer)

    def to_dict(self) -> dict[str, Any]:
        """The sizes, as JSON values; the model itself is told by `converted_format` of its description."""
        return {name: dataclasses.asdict(getattr(self, name)) for name in ("llm", "sam", "clip", "calibration")}

    @classmethod
    def from_dict(cls, values: dict[str, Any], description: ModelDescription = GLAMM) -> GlammConfig:
        """Inverse of `to_dict`; unknown or malformed entries are a ValueError that names them."""
        parts = {"llm": LlmSizes, "sam": SamSizes, "clip": ClipSizes, "calibration": ScoreCalibration}
        sizes = {name: _build(part, name, values.get(name, {})) for name, part in parts.items()}
        return cls(description=description, **sizes)

    @classmethod
    def from_published(cls, values: dict[str, Any], clip: ClipSizes) -> GlammConfig:
        """The configuration of a checkpoint in the published layout.

        Args:
            values: its `config.json`. LLaMA's sizes stand at the top level; a `sam` block is present only where SAM is
                not ViT-H.
            clip: sizes of the CLIP towers, which published checkpoints do not hold.

        Raises:
            ValueError: it is another model's, or lacks an entry.
        """
        description = described_as(values, GLAMM)
        names = {item.name for item in dataclasses.fields(LlmSizes)}
        llm = {name: value for name, value in values.items() if name in names and value is not None}
        missing = sorted(names - set(llm) - {"num_key_value_heads", "rope_theta", "max_position_embeddings"})
        if missing:
            raise ValueError(f"config.json: lacks {', '.join(missing)}; is this a {description.title} checkpoint?")
        llm.setdefault("num_key_value_heads", llm["num_attention_heads"])
        sam = _build(SamSizes, "sam", values.get("sam", {}))
        config = cls(description=description, llm=_build(LlmSizes, "config", llm), sam=sam, clip=clip)
        mm_hidden_size = values.get("mm_hidden_size", clip.vision_width)
        if mm_hidden_size != clip.vision_width:
            raise ValueError(
                f"clip: its vision width is {clip.vision_width} but the checkpoint was trained on {mm_hidden_size!r} "
                "(config.json, mm_hidden_size); pass the CLIP that belongs to it"
            )
        return config


def _build(kind: type, name: str, values: Any) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{name}: must be an object, not {values!r}")
    unknown = sorted(set(values) - {item.name for item in dataclasses.fields(kind)})
    if unknown:
        raise ValueError(f"{name}: does not know {', '.join(map(shown, unknown))}")
    return kind(**values)
