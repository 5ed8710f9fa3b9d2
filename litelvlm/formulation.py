"""Which of several equal ways each part of the model computes: names only, no tensors.

| part | kinds |
|---|---|
| `sam` | `plain`: transformers' layers; `biased`: relative positions as a bias that is written once; `folded`: they are folded into the heads (`litelvlm.folded_sam` has both); `cudnn`: the same for cuDNN's kernel, `flex`: FlexAttention adds them (`litelvlm.sam_attention`); `kernel`: in one attention kernel (`litelvlm.sam_kernel`). `folded`, `cudnn` and `kernel` with `+compiled`, too, `flex` only so (`litelvlm.compiled_sam`) |
| `llama` | `padded`: attention in rows; `stretches`: over the tokens as they lie (`litelvlm.llama_attention`); `kernels`: the same, and the steps between products fused (`litelvlm.llama_kernels`); `compiled`: the steps compiled (`litelvlm.compiled_steps`), attention in stretches on a GPU and in rows elsewhere |
| `clip` | `plain`; `compiled`: the vision tower's blocks (`litelvlm.compiled_clip`) |
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
COMPILED = "+compiled"
SAM_KINDS = (
    "plain",
    "biased",
    "folded",
    "cudnn",
    "kernel",
    f"folded{COMPILED}",
    f"cudnn{COMPILED}",
    f"flex{COMPILED}",
    f"kernel{COMPILED}",
)
LLAMA_KINDS = ("padded", "stretches", "kernels", "compiled")
CLIP_KINDS = ("plain", "compiled")
KINDS = {"sam": SAM_KINDS, "llama": LLAMA_KINDS, "clip": CLIP_KINDS}
NEED_GPU = {
    "sam": ("cudnn", "kernel", f"cudnn{COMPILED}", f"flex{COMPILED}", f"kernel{COMPILED}"),
    "llama": ("stretches", "kernels"),
    "clip": (),
}
_SYNTAX = ",".join(f"{part}=KIND" for part in KINDS)


@dataclass(frozen=True, kw_only=True)
class Formulation:
    """A kind of each part. The default is what is fastest on a CPU."""

    sam: str = "biased"
    llama: str = "padded"
    clip: str = "plain"

    def __post_init__(self) -> None:
        for part, kinds in KINDS.items():
            if getattr(self, part) not in kinds:
                raise ValueError(
                    f"formulation: {part}={getattr(self, part)!r} is not known; choose one of {', '.join(kinds)}"
                )

    def __str__(self) -> str:
        return ",".join(f"{part}={getattr(self, part)}" for part in KINDS)


def parse_formulation(text: str) -> dict[str, str]:
    """The parts that `sam=KIND,llama=KIND,clip=KIND` fixes, of which some may be absent; none of `auto`.

    Raises:
        ValueError: a part or a kind is not known.
    """
    if text == AUTO:
        return {}
    parts: dict[str, str] = {}
    for pair in text.split(","):
        part, separator, kind = pair.strip().partition("=")
        if not separator or part not in KINDS or part in parts:
            raise ValueError(f"formulation: takes {AUTO} or {_SYNTAX}, not {text!r}")
        parts[part] = kind
    Formulation(**parts)
    return parts
