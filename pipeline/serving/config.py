"""What `jobs/serve.py` is asked to do."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from litelvlm.pipeline.config import ModelConfig, StorageOptions
from litelvlm.pipeline.settings import Flag, Part, Settings

TOKEN_VARIABLE = "LITELVLM_SERVE_TOKEN"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]i?B?)?", re.IGNORECASE)
_POWERS = "BKMGT"


def parse_bytes(given: Any) -> Any:
    """`1GiB`, `500MB` or `1048576` to a number of bytes. Raises ValueError for what is none of these."""
    if not isinstance(given, str):
        return given
    found = _SIZE.fullmatch(given.strip())
    if found is None:
        raise ValueError("give bytes, such as 500MB or 1GiB")
    unit = (found[2] or "B").upper()
    return int(float(found[1]) * (1024 if "I" in unit else 1000) ** _POWERS.index(unit[0]))


@dataclass(frozen=True, kw_only=True)
class LimitConfig(Settings):
    """What a client may ask for."""

    section = "limits"

    max_bytes: Annotated[int, Flag("larger images are refused", metavar="SIZE", before=parse_bytes), Ge(1)] = 32 << 20
    max_pixels: Annotated[int, Flag("the same"), Ge(1)] = 50_000_000
    max_phrases: Annotated[int, Flag("of a request"), Ge(1)] = 64
    max_queue: Annotated[int, Flag("requests that wait or run; more are told to come back (429)"), Ge(1)] = 128
    timeout: Annotated[float, Flag("for a request, from its last byte on", metavar="SECONDS"), Gt(0)] = 60.0
    upload_timeout: Annotated[float, Flag("for its bytes", metavar="SECONDS"), Gt(0)] = 30.0
    drain_seconds: Annotated[float, Flag("that requests may still take when the service ends"), Ge(0)] = 30.0

    @property
    def max_body(self) -> int:
        """Bytes of a request's JSON: its image in base64, and room for the rest."""
        return (self.max_bytes + 2) // 3 * 4 + (1 << 20)


@dataclass(frozen=True, kw_only=True)
class ServeConfig(Settings):
    """A service."""

    section = "service"

    model: Annotated[ModelConfig, Part(without=("signals",))] = field(default_factory=ModelConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    host: Annotated[str, Flag("address to listen at")] = "127.0.0.1"
    port: Annotated[int, Flag("the same"), Interval(ge=1, le=65535)] = 8123
    num_replicas: Annotated[int, Flag("copies of the model"), Ge(1)] = 1
    gpus_per_replica: Annotated[float, Flag("GPUs that each copy takes"), Gt(0)] = 1.0
    batch_requests: Annotated[int, Flag("requests that go through the model together at most"), Ge(1)] = 32
    cache_bytes: Annotated[
        int, Flag("image embeddings that each copy keeps", metavar="SIZE", before=parse_bytes), Ge(0)
    ] = 1 << 30
    run: Annotated[
        tuple[str, ...],
        Flag("finished runs whose records answer what they have been asked", metavar="RUN", repeat=True),
    ] = ()
    reviewed: Annotated[
        str | None, Flag("corrections from Label Studio go there, as with review.py ingest", metavar="REVIEWED")
    ] = None
    label_studio_url: Annotated[
        str | None, Flag("images that Label Studio keeps come from there, with LABEL_STUDIO_API_KEY", metavar="URL")
    ] = None
    image_root: Annotated[str | None, Flag("directory or prefix that relative image URIs start from")] = None
    allow_prefixes: Annotated[
        tuple[str, ...], Flag("images may come from here", option="--allow-prefix", metavar="URI", repeat=True)
    ] = ()
    token_file: Annotated[
        str | None,
        Flag("file with the token that clients show", metavar="PATH", unset=f"{TOKEN_VARIABLE}, if it is set"),
    ] = None
    tls_certificate: Annotated[str | None, Flag("for HTTPS: a chain of certificates", metavar="PEM")] = None
    tls_key: Annotated[str | None, Flag("and its key", metavar="PEM")] = None
    tls_client_ca: Annotated[
        str | None, Flag("only clients with a certificate of these authorities are answered", metavar="PEM")
    ] = None
    log_content: Annotated[bool, Flag("phrases are in the log, too")] = False
    ray_address: Annotated[str | None, Flag("cluster to use", unset="RAY_ADDRESS, else this machine")] = None
    storage_options: StorageOptions = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate, --tls-key: give both or none")
        if self.tls_client_ca is not None and self.tls_key is None:
            raise ValueError("--tls-client-ca: clients show certificates over HTTPS; give --tls-certificate, --tls-key")
        if self.reviewed is not None and len(self.run) != 1:
            raise ValueError("--reviewed: corrections are of one run; name it with --run")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
