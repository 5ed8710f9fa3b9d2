"""The HTTP API as clients see it: answers, refusals in one form, limits, who may ask, draining."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from litelvlm.config import RULES
from tests.fakes import true_mask
from tests.pipeline.serving.doubles import TOKEN, Service, service


def picture(rgb: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, form)
    return buffer.getvalue()


RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
BYTES = base64.b64encode(picture(RGB)).decode()


def ask(made: Service, body: Any = None, **changes: Any) -> httpx.Response:
    """POST /v1/annotate; `body` replaces the whole request, `changes` parts of a good one."""
    given = {"image": {"bytes": BYTES}, "phrases": ["cat"]} | changes if body is None else body
    content = given if isinstance(given, bytes) else json.dumps(given).encode()
    return asyncio.run(made.client.post("/v1/annotate", content=content))


def get(made: Service, path: str, **headers: str) -> httpx.Response:
    return asyncio.run(made.client.get(path, headers=headers))


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"code", "message", "field"}
    assert (error["code"], error["field"]) == (code, field)
    assert error["message"]


def test_an_answer_has_what_the_api_promises() -> None:
    made = service(num_retain_tokens=48, rule="paper")
    first, second = (ask(made, phrases=["Cat ", "cat", "nothing at all"]) for _ in range(2))
    assert first.status_code == 200
    told = first.json()
    assert (told["width"], told["height"], told["cached_image"]) == (32, 24, False)
    assert second.json()["cached_image"] is True
    assert [one["phrase"] for one in told["masks"]] == ["Cat ", "cat", "nothing at all"]
    assert [one["status"] for one in told["masks"]] == ["ok", "ok", "empty"]
    cat, _, nothing = told["masks"]
    mask = coco_mask.decode(cat["rle"]).astype(bool)
    assert np.array_equal(mask, true_mask(RGB, "cat"))
    assert cat["rle"]["size"] == [24, 32]
    assert cat["bbox"] == coco_mask.toBbox(cat["rle"]).tolist()
    assert cat["num_retained_tokens"] == 48
    assert 0 <= cat["score"] <= 1
    assert (nothing["score"], nothing["bbox"], nothing["area"]) == (None, None, 0)
    assert told["seconds"]["total"] > 0


def test_budget_and_rule_are_the_requests_where_it_has_them() -> None:
    made = service(num_retain_tokens=48, rule="paper")
    for given, kept in ((5, 5), ("all", 64), (None, 48), (1000, 64)):
        mask = ask(made, num_retain_tokens=given, rule="release", retained=True).json()["masks"][0]
        assert mask["num_retained_tokens"] == len(mask["retained"]) == kept
    assert made.backend.asked[-1].rule == "release"


def test_masks_come_as_polygons_and_as_png() -> None:
    made = service()
    rings = ask(made, format="polygon").json()["masks"][0]["polygon"]
    filled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, 24, 32))).astype(bool)
    truth = true_mask(RGB, "cat")
    assert (filled & truth).sum() / (filled | truth).sum() > 0.6  # noise is all corners
    png = base64.b64decode(ask(made, format="png").json()["masks"][0]["png"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))) == 255, truth)


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"phrases": []}, 422, "invalid", "phrases"),
        ({"phrases": "cat"}, 422, "invalid", "phrases"),
        ({"phrases": ["cat", 3]}, 422, "invalid", "phrases.1"),
        ({"phrases": ["cat", "  "]}, 422, "bad_phrase", "phrases.1"),
        ({"phrases": ["x" * 2001]}, 422, "invalid", "phrases.0"),
        ({"phrases": ["cat"] * 65}, 422, "too_many_phrases", "phrases"),
        ({"image": {}}, 422, "invalid", "image"),
        ({"image": {"bytes": BYTES, "uri": "https://example.com/a.png"}}, 422, "invalid", "image"),
        ({"image": {"bytes": "a.b"}}, 422, "bad_base64", "image.bytes"),
        ({"image": {"bytes": "AAAA" + "é"}}, 422, "bad_base64", "image.bytes"),
        ({"image": {"bytes": ""}}, 422, "empty", "image"),
        ({"image": {"bytes": base64.b64encode(b"<html>").decode()}}, 422, "html", "image"),
        ({"image": {"bytes": BYTES, "size": 3}}, 422, "invalid", "image.size"),
        ({"image": {"uri": "file:///etc/passwd"}}, 403, "refused", "image.uri"),
        ({"image": {"uri": "/etc/passwd"}}, 403, "refused", "image.uri"),
        ({"image": {"uri": "http://169.254.169.254/latest"}}, 403, "refused", "image.uri"),
        ({"image": {"uri": "s3://bucket/key"}}, 403, "refused", "image.uri"),
        ({"image": {"uri": "x" * 9000}}, 422, "invalid", "image.uri"),
        ({"num_retain_tokens": 0}, 422, "invalid", "num_retain_tokens"),
        ({"num_retain_tokens": True}, 422, "invalid", "num_retain_tokens"),
        ({"num_retain_tokens": 4.5}, 422, "invalid", "num_retain_tokens"),
        ({"num_retain_tokens": float("nan")}, 422, "invalid", "num_retain_tokens"),
        ({"num_retain_tokens": 10**30}, 422, "invalid", "num_retain_tokens"),
        ({"rule": "papr"}, 422, "invalid", "rule"),
        ({"format": "jpeg"}, 422, "invalid", "format"),
        ({"threshold": 0.5}, 422, "invalid", "threshold"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(
    changes: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    made = service()
    refused(ask(made, **changes), status, code, field)
    assert not made.backend.asked


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1e999', b"nul"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    refused(ask(service(), body), 400, "bad_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"x"', b"NaN"])
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    answer = ask(service(), body)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error"}


def test_a_phrase_may_be_in_any_script_and_come_twice() -> None:
    phrases = ["猫", "🐈 on the left", "cat\u0000", "猫", "[SEG]", "<script>"]
    told = ask(service(), phrases=phrases).json()
    assert [one["phrase"] for one in told["masks"]] == phrases
    assert told["masks"][0]["rle"] == told["masks"][3]["rle"]


def test_large_images_and_bodies_are_refused_before_they_are_read() -> None:
    made = service(max_bytes="2kB", max_pixels=500)
    refused(ask(made), 413, "too_many_bytes", "image.bytes")
    small = base64.b64encode(picture(np.zeros((30, 30, 3), np.uint8))).decode()
    refused(ask(made, image={"bytes": small}), 413, "too_many_pixels", "image")
    refused(ask(made, b" " * (made.config.limits.max_body + 1)), 413, "too_many_bytes")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield b" " * (1 << 20)

    sent: list[int] = []
    answer = asyncio.run(asyncio.wait_for(_post_stream(made, endless()), 10))
    refused(answer, 413, "too_many_bytes")


async def _post_stream(made: Service, parts: AsyncIterator[bytes]) -> httpx.Response:
    """Through the application by hand: httpx's own transport reads a whole body first."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(parts), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/annotate", "raw_path": b"/v1/annotate", "query_string": b"",
        "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http", "root_path": "",
        "server": ("localhost", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await made.client._transport.app(scope, receive, send)  # type: ignore[attr-defined]
    body = b"".join(one.get("body", b"") for one in sent[1:])
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


def test_a_slow_body_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)
        yield b"}"

    refused(asyncio.run(_post_stream(service(upload_timeout=0.05), slow())), 408, "slow_body")


@pytest.mark.slow
def test_a_full_queue_tells_when_to_come_back_and_a_late_answer_is_an_error() -> None:
    made = service(max_queue=2, timeout=0.3)
    gate = asyncio.Event()
    answer = made.backend.ask

    async def waits(question: Any) -> Any:
        await gate.wait()
        return await answer(question)

    made.backend.ask = waits  # type: ignore[method-assign]

    async def several() -> list[httpx.Response]:
        body = {"image": {"bytes": BYTES}, "phrases": ["cat"]}
        return await asyncio.gather(*(made.client.post("/v1/annotate", json=body) for _ in range(4)))

    answers = asyncio.run(several())
    busy = [one for one in answers if one.status_code == 429]
    assert len(busy) == 2
    for one in busy:
        refused(one, 429, "busy")
        assert int(one.headers["retry-after"]) >= 1
    for one in answers:
        if one.status_code != 429:
            refused(one, 504, "timeout")
    assert made.service.num_pending == 0


def test_a_replica_that_lost_the_image_is_sent_it_again() -> None:
    made = service()
    truth = ask(made).json()["masks"]
    made.backend.worker = type(made.backend.worker)(made.model, type(made.backend.worker._cache)(1 << 20))
    again = ask(made).json()
    assert again["masks"] == truth
    assert again["cached_image"] is False
    assert [one.prepared is None for one in made.backend.asked] == [False, True, False]


def test_draining_takes_nothing_new() -> None:
    made = service()
    assert get(made, "/ready").json()["status"] == "ready"
    assert asyncio.run(made.service.drain(1.0))
    refused(get(made, "/ready"), 503, "draining")
    refused(ask(made), 503, "draining")
    assert get(made, "/health").status_code == 200


def test_readiness_is_that_of_the_model() -> None:
    made = service()
    made.backend.ready = False
    refused(get(made, "/ready"), 503, "loading")


def test_unknown_paths_and_methods_are_refused_in_the_same_form() -> None:
    made = service()
    refused(get(made, "/nothing"), 404, "not_found")
    refused(get(made, "/v1/annotate"), 405, "method_not_allowed")


def test_a_crash_tells_nothing_of_what_was_asked() -> None:
    made = service()

    async def breaks(question: Any) -> Any:
        raise KeyError("a secret phrase")

    made.backend.ask = breaks  # type: ignore[method-assign]
    answer = ask(made)
    refused(answer, 500, "internal")
    assert "secret" not in answer.text


def test_a_token_is_asked_of_all_that_works() -> None:
    made = service(token=TOKEN)
    refused(ask(made), 401, "unauthorized")
    for path in ("/metrics", "/v1/model"):
        refused(get(made, path), 401, "unauthorized")
        refused(get(made, path, Authorization="Bearer something else here"), 401, "unauthorized")
        assert get(made, path, Authorization=f"Bearer {TOKEN}").status_code == 200
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    assert get(made, "/metrics", Authorization=f"Basic {basic}").status_code == 200
    for path in ("/", "/health", "/ready", "/openapi.json"):
        assert get(made, path).status_code == 200


def test_pages_from_elsewhere_and_other_names_may_not_ask() -> None:
    made = service()
    refused(get(made, "/v1/model", Origin="https://evil.example"), 403, "bad_origin")
    refused(get(made, "/v1/model", Host="evil.example:8123"), 403, "bad_host")
    assert get(made, "/v1/model", Origin="http://localhost:8123").status_code == 200


def test_metrics_and_log_hold_no_phrase(caplog: pytest.LogCaptureFixture) -> None:
    made = service()
    with caplog.at_level("INFO", "litelvlm.serve"):
        ask(made, phrases=["a secret phrase"])
        ask(made, phrases=[])
        get(made, "/a/secret/path")
    text = get(made, "/metrics").text
    assert 'litelvlm_serve_requests_total{code="invalid",route="/v1/annotate",status="422"} 1.0' in text
    assert 'litelvlm_serve_phrases_total{source="model",status="ok"} 1.0' in text
    assert "litelvlm_serve_cache_bytes" in text
    lines = [json.loads(one.message) for one in caplog.records if one.name == "litelvlm.serve"]
    assert [(one["route"], one["status"]) for one in lines] == [
        ("/v1/annotate", 200),
        ("/v1/annotate", 422),
        ("other", 404),
    ]
    assert lines[0]["phrases"] == 1
    assert "secret" not in text + caplog.text


@pytest.mark.slow
def test_the_openapi_document_is_valid_and_names_every_route() -> None:
    from openapi_spec_validator import validate

    document = get(service(), "/openapi.json").json()
    validate(document)
    assert {"/v1/annotate", "/health", "/ready", "/metrics", "/predict", "/setup", "/webhook"} <= set(document["paths"])
    body = document["paths"]["/v1/annotate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schemas = document["components"]["schemas"]
    assert schemas[body["$ref"].rpartition("/")[2]]["properties"]["image"]["$ref"] == "#/components/schemas/ImageSource"
    assert "ImageSource" in schemas


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_may_load_and_run_nothing_but_their_own(path: str) -> None:
    answer = get(service(token=TOKEN), path)
    assert answer.status_code == 200
    directives = answer.headers["content-security-policy"]
    assert "default-src 'none'" in directives
    assert not any(word in directives for word in ("http", "unsafe", "*"))


def test_the_api_page_names_what_the_document_does() -> None:
    text = get(service(), "/docs").text
    for name in ("POST /v1/annotate", "AnnotateRequest", "AnnotateResponse", "num_retain_tokens", "GET /ready"):
        assert name in text
    assert text.count('Body: <a href="#AnnotateRequest">') == 1
    assert "Body: an object with <code>tasks</code>, <code>label_config</code>" in text


def test_the_model_is_told_with_its_rules_and_the_demo_has_an_example() -> None:
    told = get(service(), "/v1/model").json()
    assert [one["name"] for one in told["rules"]] == list(RULES)
    assert all(one["keeps"] for one in told["rules"])
    assert told["example_phrases"]
    assert get(service(), "/example.jpg").content.startswith(b"\xff\xd8\xff")
    made = service(model_name="other")
    assert get(made, "/v1/model").json()["example_phrases"] is None
    refused(get(made, "/example.jpg"), 404, "not_found")
