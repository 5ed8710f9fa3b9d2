"""Contact sheets to look at: images with their masks drawn in, phrases and scores beneath."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's colours, told apart with any colour vision; black is left out, since images are dark.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
_FILL_ALPHA = 0.45
_GAP, _SWATCH, _FONT_PX, _MAX_LINES = 14, 12, 15, 3
_MAX_PILE = 3
_FONTS = ("DejaVuSans.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlayItem:
    """One tile. `rgb` (H, W, 3) uint8; a mask (H, W) bool, a phrase and a score for each of P annotations.

    `truths`, if given, are drawn as white outlines: P masks, None where there is none. `title` stands above the
    captions. `colours` are those of the masks, in turn.
    """

    rgb: NDArray[np.uint8]
    masks: Sequence[NDArray[np.bool_]]
    phrases: Sequence[str]
    scores: Sequence[float | None]
    title: str = ""
    truths: Sequence[NDArray[np.bool_] | None] = field(default=())
    colours: Sequence[tuple[int, int, int]] = COLOURS


def draw_sheet(items: Sequence[OverlayItem], path: str, *, columns: int = 4, tile: int = 320) -> None:
    """Write a PNG with a tile of `tile` x `tile` pixels for each item, `columns` in a row. Raises ValueError without
    items."""
    render_sheet(items, columns=columns, tile=tile).save(path, format="PNG", optimize=True)


def render_sheet(items: Sequence[OverlayItem], *, columns: int = 4, tile: int = 320) -> Image.Image:
    """The sheet of `draw_sheet` as an RGB image."""
    if not items:
        raise ValueError("items: a sheet needs at least one")
    if columns < 1 or tile < 64:
        raise ValueError(f"columns, tile: need at least 1 and 64, got {columns} and {tile}")
    cells = [_render_cell(item, tile) for item in items]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    width = min(columns, len(cells)) * (tile + _GAP) + _GAP
    sheet = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) + 1)), _BACKGROUND)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for index, cell in enumerate(row):
            sheet.paste(cell, (_GAP + index * (tile + _GAP), top))
        top += height + _GAP
    return sheet


def draw_masks(item: OverlayItem, longest_side: int) -> Image.Image:
    """The item's image, its longer side `longest_side` pixels, with translucent masks and solid outlines."""
    height, width = item.rgb.shape[:2]
    scale = longest_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resample = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    pixels = np.asarray(Image.fromarray(item.rgb).resize(size, resample)).astype(np.float32)
    masks = [_resize_mask(mask, size) for mask in item.masks]
    for index, mask in enumerate(masks):
        colour = np.array(colour_of(index, item.colours), np.float32)
        pixels[mask] = (1 - _FILL_ALPHA) * pixels[mask] + _FILL_ALPHA * colour
    for truth in item.truths:
        if truth is not None:
            _draw_outline(pixels, _resize_mask(truth, size), (255, 255, 255))
    for index, mask in enumerate(masks):
        _draw_outline(pixels, mask, colour_of(index, item.colours))
    return Image.fromarray(pixels.astype(np.uint8))


def colour_of(index: int, colours: Sequence[tuple[int, int, int]] = COLOURS) -> tuple[int, int, int]:
    """Colour of the mask with this index; repeats after the last."""
    return colours[index % len(colours)]


def visible(text: str) -> str:
    """Text with what cannot be seen spelled out, so that a caption shows what a phrase really holds. Of marks piled on
    one letter the first few are kept, so that the pile stays within its line."""
    shown, pile = [], 0
    for char in text[:1000]:
        pile = pile + 1 if unicodedata.combining(char) else 0
        if pile <= _MAX_PILE:
            shown.append(char if char.isprintable() else f"\\u{ord(char):04x}")
    return "".join(shown)


def _render_cell(item: OverlayItem, tile: int) -> Image.Image:
    captions = [(index, _caption(phrase, score)) for index, (phrase, score) in enumerate(_annotations(item))]
    font = _font()
    blocks: list[tuple[int | None, list[str]]] = (
        [(None, _wrap(visible(item.title), tile, font, max_lines=1))] if item.title else []
    )
    blocks += [(index, _wrap(text, tile - _SWATCH - 6, font, max_lines=_MAX_LINES)) for index, text in captions]
    line_px = _FONT_PX + 4
    cell = Image.new("RGB", (tile, tile + 6 + sum(len(lines) * line_px + 2 for _, lines in blocks)), _BACKGROUND)
    cell.paste((238, 238, 238), (0, 0, tile, tile))
    picture = draw_masks(item, tile)
    cell.paste(picture, ((tile - picture.width) // 2, (tile - picture.height) // 2))
    draw = ImageDraw.Draw(cell)
    top = tile + 6
    for index, lines in blocks:
        left = 0
        if index is not None:
            box = (0, top + 3, _SWATCH, top + 3 + _SWATCH)
            draw.rectangle(box, fill=colour_of(index, item.colours), outline=_INK)
            left = _SWATCH + 6
        for line in lines:
            draw.text((left, top), line, font=font, fill=_FAINT if index is None else _INK)
            top += line_px
        top += 2
    return cell


def _annotations(item: OverlayItem) -> list[tuple[str, float | None]]:
    return list(zip(item.phrases, item.scores, strict=True))


def _caption(phrase: str, score: float | None) -> str:
    return visible(phrase) if score is None else f"{score:.2f}  {visible(phrase)}"


def _wrap(text: str, width_px: int, font: Font, *, max_lines: int) -> list[str]:
    """Lines that fit, words broken where one is wider than a line, an ellipsis at the end when it does not all fit."""
    lines: list[str] = []
    rest = text.strip()
    while rest and len(lines) < max_lines:
        end = _fitting(rest, width_px, font)
        if end < len(rest) and (space := rest.rfind(" ", 1, end + 1)) > 0:
            end = space
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest:
        last = lines[-1]
        while last and font.getlength(last + "…") > width_px:
            last = last[:-1]
        lines[-1] = last.rstrip() + "…"
    return lines or [""]


def _fitting(text: str, width_px: int, font: Font) -> int:
    """How many leading characters fit; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width_px:
            low = middle
        else:
            high = middle - 1
    return low


def _resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    # Any coverage counts, so that a mask of a few pixels in a large image stays visible.
    shrunk = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    levels = np.asarray(shrunk)
    return levels >= 128 if (levels >= 128).any() else levels > 0


def _draw_outline(pixels: NDArray[np.float32], mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    """Two pixels wide along the inside of the mask, a dark line around it for light images."""
    inner = _shrink(_shrink(mask))
    pixels[~_shrink(~mask) & ~mask] = (0, 0, 0)
    pixels[mask & ~inner] = colour


def _shrink(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without the pixels that touch, on a side, a pixel outside of it. Beyond the image counts as inside."""
    padded = np.pad(mask, 1, mode="edge")
    return padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


@lru_cache(maxsize=1)
def _font() -> Font:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, _FONT_PX)
        except OSError:
            continue
    return ImageFont.load_default(_FONT_PX)
