"""What differs between pixel-grounding models of one build (CLIP, projector, LLaMA, mask prompt, SAM), as data."""

from __future__ import annotations

from dataclasses import dataclass

#: Hugging Face ids of CLIP towers -> open_clip's architecture and the side of its square input, in pixels. All are
#: ViT-L/14 but for the input, and have OpenAI's weights.
OPENAI_CLIPS = {
    "openai/clip-vit-large-patch14": ("ViT-L-14", 224),
    "openai/clip-vit-large-patch14-336": ("ViT-L-14-336", 336),
}
#: The projectors there are, by LLaVA's names of them (`mm_projector_type`).
PROJECTORS = ("linear", "mlp2x_gelu")


SEPARATOR = ", "


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A model: everything that the loader, the prompts and the engine have to be told about it.

    Attributes:
        name: in one word of small letters.
        title: as its authors write it.
        architectures: what `architectures` of its `config.json` says.
        model_types: values of `model_type` that are this model's alone, for a `config.json` without `architectures`.
        converted_format: `format` in the `config.json` of its converted checkpoints.
        sam_prefix: what its checkpoints' names of SAM's tensors begin with.
        unused_weights: what names of tensors begin with that its checkpoints hold and annotation has no use for.
        projector: one of `PROJECTORS`.
        clip: the CLIP that it was trained with, a key of `OPENAI_CLIPS`, where its `config.json` names no other.
        added_tokens: the tokens that it adds to LLaMA's, in the order of their ids where no file tells the ids.
        system: what a conversation begins with.
        user, assistant: what a question and an answer begin with.
        before_image, after_image: what the first question begins with, around the image and its markers.
        question, answer: the template of a phrase that is used unless another is asked for.
        positions: "compact" or "original", which position ids kept tokens get where a run leaves it to the model.
        read_offset: how many tokens before `[SEG]` the state is read that becomes the mask prompt.
        reject_token: the token that stands in the place of `[SEG]` where there is no such object; None where the model
            has none. Whether it is the likeliest there is asked of `lm_head`, which is loaded for it.
        lists_phrases: whether the layout `rounds` is a single question and answer that list the phrases, separated by
            `SEPARATOR`: of the answer, the part from the phrase to `[SEG]` is repeated.
        stripped: characters that are stripped off both ends of a phrase beside white space.
    """

    name: str
    title: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...] = ()
    converted_format: str
    sam_prefix: str
    unused_weights: tuple[str, ...] = ()
    projector: str
    clip: str
    added_tokens: tuple[str, ...]
    system: str = (  # LLaVA's conversation llava_v1
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions."
    )
    user: str = "USER: "
    assistant: str = " ASSISTANT: "
    before_image: str = ""
    after_image: str = "\n"
    question: str
    answer: str
    positions: str = "compact"
    read_offset: int = 1
    reject_token: str | None = None
    lists_phrases: bool = False
    stripped: str = ""

    def __post_init__(self) -> None:
        if self.projector not in PROJECTORS:
            raise ValueError(f"{self.name}.projector: {self.projector!r} is none of {', '.join(PROJECTORS)}")
        if self.clip not in OPENAI_CLIPS:
            raise ValueError(f"{self.name}.clip: {self.clip!r} is none of {', '.join(OPENAI_CLIPS)}")
        if self.positions not in ("compact", "original"):
            raise ValueError(f"{self.name}.positions: must be compact or original, not {self.positions!r}")
        if self.read_offset < 0:
            raise ValueError(f"{self.name}.read_offset: must be at least 0, not {self.read_offset}")
