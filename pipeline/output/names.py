"""File names for the output: relative, free of traversal and control characters; true ones where there is a file.

What a URI names exists somewhere, and a reviewer's tool looks for it by the name in the COCO files: such a name stays
as it is, whatever Linux and object stores allow. A name made from an id is nobody's yet, and is made portable.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import unquote

from litelvlm.pipeline.images.sniff import sniff_format

_RESERVED = '\\:*?"<>|'
_MAX_PART_BYTES = 255  # of ext4, NTFS and APFS
_MAX_ID_PART_BYTES = 120
_MAX_PATH_BYTES = 1024  # of a key in S3, Google's and Azure's stores
_MAX_ID_PARTS = 8
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

    Without a file of that name, for images from ids and the web, an extension is added where there is none, from the
    image's first bytes: labelling tools go by it.
    """
    name = true_path(_path_of(uri, root)) if uri else safe_path(image_id)
    if name.lower().endswith(_KNOWN) or (uri and not uri.lower().startswith(("http://", "https://"))):
        return name
    return name + _EXTENSIONS.get(sniff_format(data)[0], ".jpg") if data else name


def true_path(name: str) -> str:
    """A path made relative, with nothing else changed but what no tool may be given; never empty.

    `.` and `..` are left out, characters that are not plain become `_`, a part of more than 255 bytes ends in a hash,
    and of a path of more than 1,024 bytes the first directories are left out.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    parts = [_cut("".join(char if is_plain(char) else "_" for char in part), _MAX_PART_BYTES) for part in parts]
    while sum(len(part.encode("utf-8")) + 1 for part in parts) > _MAX_PATH_BYTES + 1:
        del parts[0]
    return "/".join(parts) or "unnamed"


def safe_path(name: str) -> str:
    """A relative path of at most eight parts that is safe on any file system; never empty."""
    parts = [_safe_part(part) for part in name.replace("\\", "/").split("/") if part.strip(" .")]
    return "/".join(parts[-_MAX_ID_PARTS:]) or "unnamed"


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
    """The path in a URI, below the root where it lies there. Only web addresses have queries and fragments, only they
    and `file://` have escapes; those of the web stay, since nobody knows how its server reads them."""
    scheme, separator, _ = uri.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        uri = re.split(r"[?#]", uri, maxsplit=1)[0]
    elif separator and scheme.lower() == "file":
        uri, separator = "/" + unquote(uri.partition("://")[2].partition("/")[2]), ""
    if root and uri.startswith(root.rstrip("/") + "/"):
        return uri[len(root.rstrip("/")) + 1 :]
    return uri.partition("://")[2].partition("/")[2] if separator else uri


def _safe_part(part: str) -> str:
    kept = "".join(char if is_plain(char) and char not in _RESERVED else "_" for char in part)
    kept = kept.lstrip(" ").rstrip(" .") or "_"
    if _DEVICE.match(kept):
        kept = f"_{kept}"
    return _cut(kept, _MAX_ID_PART_BYTES)


def _cut(part: str, max_bytes: int) -> str:
    if len(part.encode("utf-8", errors="replace")) <= max_bytes:
        return part
    digest = hashlib.sha256(part.encode("utf-8", errors="replace")).hexdigest()[:8]
    stem, extension = split_extension(part)
    return stem.encode("utf-8")[: max_bytes - 16].decode("utf-8", errors="ignore") + f"~{digest}{extension}"
