"""What untrusted bytes are, from their first few, before any decoder sees them."""

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)
_AVIF_BRANDS = (b"avif", b"avis", b"mif1", b"msf1")
_NOT_READ = (
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"%!PS", "PostScript"),
    (b"%PDF", "PDF"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"v/1\x01", "OpenEXR"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x93NUMPY", "NumPy array"),
    (b"PAR1", "Parquet"),
)


def sniff_format(data: bytes) -> tuple[str, str]:
    """Name the format of `data` and describe it.

    The name is one that `pipeline.images.decode` reads (``jpeg`` … ``avif``) or a reason code: ``html``, ``svg``,
    ``json``, ``lfs_pointer``, ``unsupported_format``, ``not_an_image``.
    """
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind, kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp", "webp"
    if data[4:8] == b"ftyp":
        return _sniff_isobmff(data)
    for magic, name in _NOT_READ:
        if data.startswith(magic):
            return "unsupported_format", f"{name} data"
    return _sniff_text(data[:1024])


def _sniff_isobmff(data: bytes) -> tuple[str, str]:
    size = int.from_bytes(data[:4], "big")
    brands = {data[offset : offset + 4] for offset in range(8, min(size, 128, len(data) - 3), 4)}
    if brands & {b"heic", b"heix", b"hevc", b"heim"}:
        return "unsupported_format", "HEIC data"
    if brands & set(_AVIF_BRANDS):
        return "avif", "AVIF data"
    return "unsupported_format", "a video or another ISO media file"


def _sniff_text(head: bytes) -> tuple[str, str]:
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", errors="ignore")
    text = text.removeprefix("\ufeff").lstrip().lower()
    if text.startswith("version https://git-lfs"):
        return "lfs_pointer", "a Git LFS pointer, the file itself was not downloaded"
    if "<svg" in text:
        return "svg", "a vector drawing, not pixels"
    if text.startswith(("<!doctype html", "<html", "<head", "<body", "<script")) or "<html" in text:
        return "html", "a web page, not an image"
    if text.startswith("<"):
        return "xml", "XML, not an image (an error answer of a storage service?)"
    if text.startswith(("{", "[")):
        return "json", "JSON, not an image (an error answer of a service?)"
    return "not_an_image", f"starts with {head[:8].hex(' ')}"
