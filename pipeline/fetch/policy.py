"""Which image URIs of a table may be read, decided before anything is opened.

A table is untrusted: whoever wrote it chooses the URIs, and the reader holds the credentials and sits inside the
network. So every way of reading is refused unless something that the user said, not the table, allows it.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.storage.filesystems import OBJECT_SCHEMES, is_local, local_path

LOCAL_SCHEMES = ("file",)
HTTP_SCHEMES = ("http", "https")

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_CHARS = 8192


class FetchError(ValueError):
    """Why an image could not be fetched: a stable code, a colon, then words. Holds no credentials and no query
    string."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        super().__init__(f"{code}: {detail}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.code, str(self).removeprefix(f"{self.code}: "))


@dataclass(frozen=True, kw_only=True)
class PermittedRead:
    """One permitted read.

    `location` is a local path, an object's ``bucket/key``, or a URL. `roots`: local directories one of which must
    hold the file once symbolic links are followed; empty means anywhere. `may_be_private`: the user named this very
    host, so an address inside the network is fine.
    """

    kind: Literal["file", "object", "http"]
    location: str
    protocol: str = ""
    roots: tuple[str, ...] = ()
    may_be_private: bool = False


@dataclass(frozen=True, kw_only=True)
class UriPolicy:
    """What may be read.

    image_root: directory, bucket prefix or URL that relative names are joined to and cannot leave.
    allowed_prefixes: URIs whose subtree may be read (``s3://bucket/``, ``https://images.example.com/set1/``); a bare
    scheme
        (``https://``) allows every public host.
    manifest_is_local: the table lies on this machine. Only then may it name local files and any bucket.
    max_bytes, timeout_s, max_attempts: limits on one fetch; the timeout covers one attempt as a whole.
    authorizations: pairs of a URL prefix and the header `Authorization` for what lies below it.
    """

    image_root: str | None = None
    allowed_prefixes: tuple[str, ...] = ()
    manifest_is_local: bool = False
    max_bytes: int = 256 * 2**20
    timeout_s: float = 30.0
    max_attempts: int = 4
    authorizations: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.timeout_s <= 0 or self.max_attempts < 1:
            raise ValueError("max_bytes, timeout_s, max_attempts: must be positive")
        if self.image_root is not None:
            object.__setattr__(self, "image_root", _clean_prefix(self.image_root, "--image-root"))
        cleaned = tuple(_clean_prefix(prefix, "--allow-prefix") for prefix in self.allowed_prefixes)
        object.__setattr__(self, "allowed_prefixes", cleaned)

    @classmethod
    def for_input(
        cls, input_path: str, *, image_root: str | None = None, allowed_prefixes: tuple[str, ...] = ()
    ) -> "UriPolicy":
        """The policy of a run that reads its table from `input_path` (a path, URI or glob).

        A table in a bucket may name objects of the same bucket, a local table may name local files and any bucket.
        """
        scheme, _, rest = input_path.partition("://")
        here = not rest or scheme.lower() in LOCAL_SCHEMES
        if not here and scheme.lower() in OBJECT_SCHEMES:
            allowed_prefixes = (*allowed_prefixes, f"{scheme}://{rest.partition('/')[0]}/")
        return cls(image_root=image_root, allowed_prefixes=allowed_prefixes, manifest_is_local=here)

    def headers_for(self, url: str) -> dict[str, str]:
        """What a request for a URL that was resolved carries besides the usual headers."""
        return next(({"Authorization": value} for prefix, value in self.authorizations if _is_below(url, prefix)), {})

    def resolve(self, uri: str) -> PermittedRead:
        """What to read for `uri`, without touching a disk or a network. Raises FetchError when it may not be read."""
        _check_characters(uri)
        scheme = _scheme(uri)
        if scheme is None:
            return self._resolve_path(uri)
        if scheme in LOCAL_SCHEMES:
            return self._resolve_local(_file_uri_path(uri))
        if scheme in OBJECT_SCHEMES:
            return self._resolve_object(uri)
        if scheme in HTTP_SCHEMES:
            return self._resolve_http(uri)
        raise FetchError("refused", f"scheme {redact_uri(scheme)} is not read")

    def _resolve_path(self, path: str) -> PermittedRead:
        if os.path.isabs(path):
            return self._resolve_local(path)
        if self.image_root is None:
            raise FetchError("refused", f"{redact_uri(path)} is relative; give --image-root")
        if _scheme(self.image_root) is None:
            joined = os.path.join(self.image_root, path)
            return PermittedRead(kind="file", location=joined, roots=(self.image_root,))
        if _scheme(self.image_root) in HTTP_SCHEMES:
            path = quote(path, safe="/%:@!$&'()*+,;=~")
        return self.resolve(f"{self.image_root.rstrip('/')}/{path}")

    def _resolve_local(self, path: str) -> PermittedRead:
        if not self.manifest_is_local:
            raise FetchError("refused", "a table that is not on this machine cannot name local files")
        _check_characters(path)
        roots: tuple[str, ...] = ()
        if self.image_root is not None and _scheme(self.image_root) is None:
            local_prefixes = (prefix for prefix in self.allowed_prefixes if _scheme(prefix) is None)
            roots = (self.image_root, *local_prefixes)
        return PermittedRead(kind="file", location=path, roots=roots)

    def _resolve_object(self, uri: str) -> PermittedRead:
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if not bucket or not key:
            raise FetchError("bad_uri", f"{redact_uri(uri)} names no object")
        if not self.manifest_is_local and not self._matching_prefixes(uri):
            shown = redact_uri(f"{scheme}://{bucket}/")
            raise FetchError("refused", f"{shown} is outside the table's bucket; allow it with --allow-prefix")
        return PermittedRead(kind="object", location=rest, protocol=OBJECT_SCHEMES[scheme.lower()])

    def _resolve_http(self, uri: str) -> PermittedRead:
        scheme, host_port, path = _split_http(uri)
        clean = f"{scheme}://{host_port}{path}"
        matches = self._matching_prefixes(clean)
        if not matches:
            raise FetchError("refused", f"{scheme}://{host_port}/ is not allowed; allow it with --allow-prefix")
        may_be_private = any(prefix.partition("://")[2] for prefix in matches)
        return PermittedRead(kind="http", location=clean, protocol=scheme, may_be_private=may_be_private)

    def _matching_prefixes(self, uri: str) -> list[str]:
        roots = (self.image_root,) if self.image_root else ()
        return [prefix for prefix in (*self.allowed_prefixes, *roots) if _is_below(uri, prefix)]


def uri_policy(config: RunConfig) -> UriPolicy:
    """What image URIs may be read: what a local table may name only if every input is local."""
    source = config.source
    prefixes = list(source.allow_prefixes)
    remote = [path for path in source.input if not is_local(path)]
    for path in remote:
        prefixes.extend(UriPolicy.for_input(path, allowed_prefixes=()).allowed_prefixes)
    return UriPolicy(
        image_root=source.image_root, allowed_prefixes=tuple(dict.fromkeys(prefixes)), manifest_is_local=not remote
    )


def bare_uri(uri: str) -> str:
    """A URI without what may be secret: without user, password, query and fragment where it is a web address's."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() not in HTTP_SCHEMES:
        return uri
    host, slash, path = rest.partition("/")
    host, path = re.split(r"[?#]", host)[0].rpartition("@")[2], re.split(r"[?#]", path)[0]
    return f"{scheme}://{host}{slash}{path}"


def redact_uri(uri: str) -> str:
    """The same fit for a log: printable, at most 200 characters."""
    printable = "".join(char if char.isprintable() else "?" for char in bare_uri(uri))
    return printable if len(printable) <= 200 else printable[:197] + "..."


# ---- pieces ----


def _scheme(uri: str) -> str | None:
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else None


def _check_characters(uri: str) -> None:
    """Refuse what readers disagree on: control characters, backslashes, and climbing out, plain or percent-encoded."""
    if not uri or len(uri) > _MAX_CHARS:
        raise FetchError("bad_uri", "empty" if not uri else f"{len(uri)} characters long")
    scheme = _scheme(uri)
    if scheme and not uri[len(scheme) :].startswith("://"):
        raise FetchError("bad_uri", f"{redact_uri(uri)}: {scheme}: without //")
    decoded = uri
    for _ in range(4):  # some servers decode twice
        if "\\" in decoded or any(map(_is_control, decoded)):
            raise FetchError("refused", f"{redact_uri(uri)} holds a control character or a backslash")
        if ".." in re.split(r"[/?#]", decoded):
            raise FetchError("refused", f"{redact_uri(uri)} climbs out of its directory")
        if (further := unquote(decoded)) == decoded:
            return
        decoded = further
    raise FetchError("refused", f"{redact_uri(uri)} is percent-encoded over and over")


def _is_control(char: str) -> bool:
    # Surrogates too: no URL, path or key can hold one.
    return char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"


def _file_uri_path(uri: str) -> str:
    host, _, path = uri.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise FetchError("refused", f"{redact_uri(uri)} names another machine")
    return "/" + unquote(path)


def _split_http(uri: str) -> tuple[str, str, str]:
    """Scheme, host with port where it is not the default, and path with query, in one canonical spelling."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise FetchError("bad_uri", f"{redact_uri(uri)} is no URL") from None
    if not host or parts.username is not None or parts.password is not None:
        raise FetchError("bad_uri", f"{redact_uri(uri)}: no host, or a user name before it")
    if re.search(r"[^a-z0-9._:%-]", host):
        raise FetchError("bad_uri", f"{redact_uri(uri)}: the host name holds odd characters")
    scheme = parts.scheme.lower()
    host = f"[{host}]" if ":" in host else host
    host_port = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?')}" if parts.query else ""
    return scheme, host_port, path + query


def _is_below(uri: str, prefix: str) -> bool:
    """Whether `uri` lies in the subtree of `prefix`, compared scheme by scheme, host by host, whole path segments."""
    if _scheme(prefix) is None:
        return False
    scheme, _, rest = uri.partition("://")
    prefix_scheme, _, prefix_rest = prefix.partition("://")
    kind, prefix_kind = (OBJECT_SCHEMES.get(name.lower(), name.lower()) for name in (scheme, prefix_scheme))
    if kind != prefix_kind:
        return False
    if not prefix_rest:
        return True
    rest = rest.partition("?")[0] if kind in HTTP_SCHEMES else rest
    return rest == prefix_rest or rest.startswith(prefix_rest.rstrip("/") + "/")


def _clean_prefix(prefix: str, flag: str) -> str:
    """A prefix in the spelling that `_is_below` compares; a local one as an absolute path. Raises ValueError."""
    scheme = _scheme(prefix)
    try:
        _check_characters(prefix)
        if scheme in LOCAL_SCHEMES:
            return os.path.abspath(_file_uri_path(prefix))
        if scheme is None:
            return local_path(prefix)
        if scheme in HTTP_SCHEMES:
            return f"{scheme}://" if prefix.endswith("://") else "{}://{}{}".format(*_split_http(prefix))
    except FetchError as error:
        raise ValueError(f"{flag} {redact_uri(prefix)}: {error}") from None
    if scheme not in OBJECT_SCHEMES:
        known = ", ".join((*LOCAL_SCHEMES, *HTTP_SCHEMES, *OBJECT_SCHEMES))
        raise ValueError(f"{flag} {redact_uri(prefix)}: scheme {scheme} is not read; known: {known}")
    return prefix
