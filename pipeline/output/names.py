"""File names for the output: relative, portable, free of traversal and control characters."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from litelvlm.pipeline.images.sniff import sniff_format

_RESERVED = '\\:*?"<>|'
_MAX_PART_BYTES = 120
_MAX_PARTS = 8
_EXTENSIONS = {
    "jpeg": ".jpg",
    "png": ".png",
    "gif": ".gif",
    "bmp": ".bmp",
    "tiff": ".tif",
    "webp": ".webp",
    "avif": ".avif",
}
_KNOWN = (*_EXTENSIONS.values(), ".jpeg", ".tiff")
# Windows opens a device for these, whatever the extension.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.IGNORECASE)


def safe_file_name(image_id: str, uri: str | None, data: bytes, *, root: str | None) -> str:
    """Name of an image in the COCO files: the path of its URI below the image root, else its id.

    An extension is added where there is none, from the image's first bytes, because labelling tools go by it.
    """
    name = safe_path(_path_of(uri, root) if uri else image_id)
    if name.lower().endswith(_KNOWN):
        return name
    return name + _EXTENSIONS.get(sniff_format(data)[0], ".jpg") if data else name


def safe_path(name: str) -> str:
    """A relative path of at most `_MAX_PARTS` parts that is safe on any file system; never empty."""
    parts = [_safe_part(part) for part in name.replace("\\", "/").split("/") if part.strip(" .")]
    return "/".join(parts[-_MAX_PARTS:]) or "unnamed"


def with_suffix(name: str, suffix: str) -> str:
    """`a/b.jpg`, `~12` to `a/b~12.jpg`."""
    stem, extension = split_extension(name)
    return f"{stem}{suffix}{extension}"


def split_extension(name: str) -> tuple[str, str]:
    """Split off the extension of an image file; of no other."""
    for extension in _KNOWN:
        if name.lower().endswith(extension):
            return name[: -len(extension)], name[-len(extension) :]
    return name, ""


def is_plain(char: str) -> bool:
    """Whether a character may stand in a file name: no control, format (zero-width, right-to-left), surrogate or
    unassigned character and no line separator. Spaces other than the common one may, since names hold them."""
    return char.isprintable() or unicodedata.category(char) == "Zs"


def clash_key(name: str) -> str:
    """Equal for names that some file system takes for one: in case and in how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _path_of(uri: str, root: str | None) -> str:
    if root and uri.startswith(root.rstrip("/") + "/"):
        return uri[len(root.rstrip("/")) + 1 :]
    _, separator, rest = uri.partition("://")
    path = rest.partition("/")[2] if separator else uri
    return path.split("?")[0].split("#")[0] if separator else path


def _safe_part(part: str) -> str:
    kept = "".join(char if is_plain(char) and char not in _RESERVED else "_" for char in part)
    kept = kept.lstrip(" ").rstrip(" .") or "_"
    if _DEVICE.match(kept):
        kept = f"_{kept}"
    if len(kept.encode("utf-8")) <= _MAX_PART_BYTES:
        return kept
    digest = hashlib.sha256(kept.encode("utf-8")).hexdigest()[:8]
    stem, extension = split_extension(kept)
    return stem.encode("utf-8")[: _MAX_PART_BYTES - 16].decode("utf-8", errors="ignore") + f"~{digest}{extension}"
