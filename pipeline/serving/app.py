"""The HTTP API over a service: routes, bodies within their limits, every error in one form."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from litelvlm.config import RULES
from litelvlm.pipeline.serving.access import Gate
from litelvlm.pipeline.serving.api import AnnotateRequest, AnnotateResponse, ErrorResponse, parse_request
from litelvlm.pipeline.serving.config import LimitConfig
from litelvlm.pipeline.serving.errors import Refusal
from litelvlm.pipeline.serving.http_guard import App, HttpGuard
from litelvlm.pipeline.serving.label_studio import LabelStudioBackend
from litelvlm.pipeline.serving.openapi import PREDICT, SETUP, WEBHOOK
from litelvlm.pipeline.serving.pages import EXAMPLE_PHRASES, api_page, example, page, policy
from litelvlm.pipeline.serving.service import AnnotationService
from litelvlm.rules.registry import RULE_BOOK

ROUTES = frozenset(
    {
        "/",
        "/v1/annotate",
        "/v1/model",
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/example.jpg",
        "/predict",
        "/setup",
        "/versions",
        "/webhook",
    }
)
_LARGE = 1 << 20  # bytes of JSON that are parsed beside the event loop
_CODES = {404: "not_found", 405: "method_not_allowed"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": words}
    for status, words in (
        (400, "The body is not JSON"),
        (401, "The token is missing or wrong"),
        (403, "The URI may not be read, or the request comes from elsewhere"),
        (408, "The body took too long"),
        (413, "The body or the image is too large"),
        (422, "A field does not fit"),
        (429, "Too many requests wait; come back after Retry-After"),
        (503, "Loading, draining, or no copy of the model answers"),
        (504, "No answer in time"),
    )
}
_SCHEMAS = "#/components/schemas/{model}"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": _SCHEMAS.format(model=AnnotateRequest.__name__)}}},
    }
}


def build_app(service: AnnotationService, gate: Gate, backend: LabelStudioBackend) -> App:
    """The application. `backend` speaks Label Studio's protocol."""
    app = FastAPI(title="LiteLVLM Annotate", version=service.facts.version, docs_url=None, redoc_url=None)
    _handle_errors(app)
    _add_pages(app, service)
    _add_probes(app, service)
    _add_annotate(app, service)
    _add_label_studio(app, service, backend)
    _describe_request(app)
    return HttpGuard(app, gate, service.meters, ROUTES)


async def read_body(request: Request, limits: LimitConfig) -> bytes:
    """A request's body. Raises Refusal where it is too large or too slow."""
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limits.max_body:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.upload_timeout):
            async for part in request.stream():
                size += len(part)
                if size > limits.max_body:
                    raise _too_large(limits)
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, "slow_body", f"the body took more than {limits.upload_timeout:g} s") from None
    except ClientDisconnect:
        raise Refusal(400, "disconnected", "the client left while it sent its body") from None
    return b"".join(parts)


def _too_large(limits: LimitConfig) -> Refusal:
    return Refusal(413, "too_many_bytes", f"the body has more than {limits.max_body} bytes")


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        request.state.exchange.facts["code"] = refusal.code
        return JSONResponse(refusal.body(), refusal.status, refusal.headers())

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "http")
        answer = await refused(request, Refusal(error.status_code, code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)  # its own text may quote what was asked
    async def crashed(request: Request, error: Exception) -> JSONResponse:
        exchange = request.state.exchange
        return await refused(request, Refusal(500, "internal", f"an error of the service; request {exchange.id}"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return await refused(request, Refusal(422, "invalid", "the request does not fit"))


def _describe_request(app: FastAPI) -> None:
    """Put the request into the OpenAPI document: its route reads the body by itself, so FastAPI knows nothing of it."""
    request = AnnotateRequest.model_json_schema(ref_template=_SCHEMAS)
    schemas = app.openapi()["components"]["schemas"]
    schemas |= request.pop("$defs") | {AnnotateRequest.__name__: request}


def _add_probes(app: FastAPI, service: AnnotationService) -> None:
    @app.get("/health", summary="Whether the service is alive")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "LiteLVLM"}

    @app.get("/ready", summary="Whether a model is loaded and requests are taken", responses={503: _ERRORS[503]})
    async def ready() -> dict[str, str]:
        state = await service.state()
        if state != "ready":
            raise Refusal(503, state, f"the service is {state}", retry_after_s=2)
        return {"status": "ready", "model_version": service.facts.version}

    @app.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/model", summary="The model, and what is asked where a request says nothing")
    async def model() -> dict[str, Any]:
        asked, limits = service.config.model, service.config.limits
        return {
            "model_version": service.facts.version,
            "num_visual_tokens": service.facts.num_visual_tokens,
            "num_retain_tokens": asked.num_retain_tokens,
            "rule": asked.rule,
            "rules": [{"name": name, "keeps": _kept_by(name)} for name in RULES],
            "example_phrases": list(EXAMPLE_PHRASES) if asked.is_demo else None,
            "max_bytes": limits.max_bytes,
            "max_pixels": limits.max_pixels,
            "max_phrases": limits.max_phrases,
        }


def _kept_by(rule: str) -> str:
    """Which tokens a rule keeps, in words."""
    return RULE_BOOK[rule].keeps if rule in RULE_BOOK else "all tokens"


def _add_pages(app: FastAPI, service: AnnotationService) -> None:
    def shown(html: str) -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy(html)})

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return shown(page())

    @app.get("/docs", include_in_schema=False)
    async def show_api() -> HTMLResponse:
        return shown(api_page(app.openapi()))

    if service.config.model.is_demo:

        @app.get("/example.jpg", include_in_schema=False)
        async def show_example() -> Response:
            return Response(example(), media_type="image/jpeg")


def _add_annotate(app: FastAPI, service: AnnotationService) -> None:
    limits = service.config.limits

    @app.post("/v1/annotate", response_model=AnnotateResponse, responses=_ERRORS, openapi_extra=_BODY)
    async def annotate(request: Request) -> Response:
        """Masks for the phrases of an image."""
        body = await read_body(request, limits)
        if len(body) > _LARGE:
            asked = await asyncio.to_thread(parse_request, body, limits.max_phrases)
        else:
            asked = parse_request(body, limits.max_phrases)
        facts = request.state.exchange.facts
        facts["phrases"] = asked.phrases if service.config.log_content else len(asked.phrases)
        told = await service.annotate(asked)
        facts |= {"cached_image": told.cached_image, "width": told.width, "height": told.height}
        return Response(told.model_dump_json(exclude_defaults=False), media_type="application/json")


def _add_label_studio(app: FastAPI, service: AnnotationService, backend: LabelStudioBackend) -> None:
    limits = service.config.limits

    told: dict[str, Any] = {"tags": ["Label Studio"], "responses": _ERRORS}

    @app.post("/setup", summary="A project is connected", openapi_extra=SETUP, **told)
    async def setup(request: Request) -> dict[str, Any]:
        return backend.setup(await read_body(request, limits))

    @app.get("/versions", tags=["Label Studio"], summary="Versions of the model: one")
    async def versions() -> dict[str, list[str]]:
        return {"versions": [service.facts.version]}

    @app.post("/predict", summary="Predictions for tasks", openapi_extra=PREDICT, **told)
    async def predict(request: Request) -> dict[str, Any]:
        told = await backend.predict(await read_body(request, limits))
        if unanswered := told["results"].count([]):
            request.state.exchange.facts["unanswered"] = unanswered
        return told

    @app.post("/webhook", summary="What annotators did", openapi_extra=WEBHOOK, **told)
    async def webhook(request: Request) -> dict[str, Any]:
        return await backend.webhook(await read_body(request, limits))
