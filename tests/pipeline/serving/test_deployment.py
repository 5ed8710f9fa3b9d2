"""Where a replica is lost, its question is asked again; where nobody waits any more, it is not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError

from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.deployment import ReplicaBackend, application, build
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.service import Unavailable
from tests.pipeline.serving.doubles import question


class _Handle:
    """As a deployment's handle, whose replica dies `deaths` times."""

    def __init__(self, deaths: int) -> None:
        self.deaths, self.sessions = deaths, list[str]()
        self.ask = self

    def options(self, session_id: str) -> Any:
        self.sessions.append(session_id)
        return self

    async def remote(self, question: Any) -> str:
        if self.deaths:
            self.deaths -= 1
            raise RayActorError
        return "an answer"


@pytest.mark.slow
def test_a_lost_question_is_asked_again_of_who_holds_the_image() -> None:
    handle, meters = _Handle(2), ServiceMeters()
    asked = question(np.zeros((1, 1, 3), np.uint8), "x", key="key", expires_at=time.time() + 20)
    answer: object = asyncio.run(ReplicaBackend(handle, meters).ask(asked))
    assert answer == "an answer"
    assert handle.sessions == ["key"]
    assert b"replica_retries_total 2.0" in meters.text()


def test_it_is_given_up_when_nobody_waits() -> None:
    asked = question(np.zeros((1, 1, 3), np.uint8), "x", expires_at=time.time() + 0.3)
    with pytest.raises(Unavailable):
        asyncio.run(ReplicaBackend(_Handle(1000), ServiceMeters()).ask(asked))


def test_a_serve_config_has_the_settings_by_their_flags() -> None:
    made = build({"model": "demo", "num_replicas": 2})
    assert made is not None
    with pytest.raises(ValueError, match="num_replica"):
        build({"num_replica": 2})


def test_client_certificates_that_nobody_would_look_at_are_refused() -> None:
    tls = {"tls_certificate": "chain.pem", "tls_key": "key.pem", "tls_client_ca": "ca.pem"}
    with pytest.raises(ValueError, match="--tls-client-ca"):
        build(tls)
    assert application(ServeConfig.from_flat(tls), "cpu", listens=True) is not None
