"""The requests and answers of the HTTP API, as its OpenAPI document has them."""

from __future__ import annotations

import base64
import binascii
import builtins
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic.config import JsonDict

from litelvlm.config import RULES
from litelvlm.pipeline.serving.errors import Refusal
from litelvlm.pipeline.settings import guess

MAX_PHRASE_CHARS = 2_000
MAX_URI_CHARS = 8_192
_MAX_TOKENS = 1 << 20


def _given(name: str) -> JsonDict:
    """What JSON Schema says of a text that has to be there."""
    return {"required": [name], "properties": {name: {"type": "string"}}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageSource(_Strict):
    """An image: its encoded bytes, or where they are."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_given("bytes"), _given("uri")]})

    bytes: Annotated[StrictStr | None, Field(description="JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF in base64")] = None
    uri: Annotated[
        StrictStr | None, Field(max_length=MAX_URI_CHARS, description="below what the service was allowed to read")
    ] = None

    def decoded(self, max_bytes: int) -> builtins.bytes:
        """The bytes of an image that is here. Raises Refusal where they are no base64 or too many."""
        assert self.bytes is not None
        if len(self.bytes) > (max_bytes + 2) // 3 * 4:
            raise Refusal(413, "too_many_bytes", f"the image has more than {max_bytes} bytes", "image.bytes")
        try:
            return base64.b64decode(self.bytes, validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(422, "bad_base64", "the bytes are not base64", "image.bytes") from None


class AnnotateRequest(_Strict):
    """What is asked of an image. Without a budget or rule, the service's own."""

    image: ImageSource
    phrases: Annotated[
        list[Annotated[StrictStr, Field(max_length=MAX_PHRASE_CHARS, json_schema_extra={"pattern": r"\S"})]],
        Field(min_length=1, description="each is answered by one mask, in order"),
    ]
    num_retain_tokens: Annotated[
        Annotated[StrictInt, Field(ge=1, le=_MAX_TOKENS)] | Literal["all"] | None,
        Field(description="visual tokens that each phrase keeps"),
    ] = None
    rule: Annotated[StrictStr | None, Field(json_schema_extra={"enum": [*RULES, None]})] = None
    format: Annotated[Literal["rle", "polygon", "png"], Field(description="of the masks")] = "rle"
    retained: Annotated[StrictBool, Field(description="say which visual tokens were kept")] = False


class Rle(BaseModel):
    """COCO's compressed run lengths."""

    size: Annotated[list[int], Field(description="height and width")]
    counts: str


class Mask(BaseModel):
    """The answer to a phrase."""

    phrase: str
    status: Annotated[
        Literal["ok", "empty", "absent", "failed"],
        Field(description="empty: no pixel is above the threshold; absent: the model says there is no such thing"),
    ]
    score: Annotated[float | None, Field(description="confidence in [0, 1]; null without a mask")] = None
    rle: Rle | None = None
    polygon: Annotated[list[list[float]] | None, Field(description="outlines [x1, y1, x2, y2, …] in pixels")] = None
    png: Annotated[str | None, Field(description="one channel of 0 and 255, in base64")] = None
    bbox: Annotated[list[float] | None, Field(description="x, y, width and height in pixels")] = None
    area: Annotated[int | None, Field(description="in pixels")] = None
    num_retained_tokens: int | None = None
    num_visual_tokens: int | None = None
    retained: Annotated[list[int] | None, Field(description="patches kept, row by row of the central square")] = None
    source: Annotated[Literal["model", "run"], Field(description="run: read from the records of one")] = "model"
    error: str | None = None


class AnnotateResponse(BaseModel):
    """Masks in the order of the phrases."""

    width: int
    height: int
    masks: list[Mask]
    cached_image: Annotated[bool, Field(description="whether the image's embedding was there already")]
    model_version: str
    seconds: dict[str, float]


class ErrorBody(BaseModel):
    """Why a request is refused."""

    code: str
    message: str
    field: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorBody


def parse_request(body: bytes, max_phrases: int) -> AnnotateRequest:
    """A request from its JSON. Raises Refusal naming the field and what is wrong with it."""
    try:
        request = AnnotateRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    if len(request.phrases) > max_phrases:
        raise Refusal(422, "too_many_phrases", f"{len(request.phrases)} phrases; at most {max_phrases}", "phrases")
    if (request.image.bytes is None) == (request.image.uri is None):
        raise Refusal(422, "invalid", "give either bytes or uri", "image")
    if request.rule is not None and request.rule not in RULES:
        near = guess(request.rule[:40], RULES)
        raise Refusal(422, "invalid", f"no such rule; choose from {', '.join(RULES)}{near}", "rule")
    return request


def _refusal(error: ValidationError) -> Refusal:
    first: Any = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Refusal(400, "bad_json", f"the body is not JSON: {first['ctx']['error']}"[:300])
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained-", "literal[")))
    return Refusal(422, "invalid", first["msg"][:300], where[:200] or None)
