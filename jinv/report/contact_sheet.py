"""sheet.jpg: a figure's panels as one picture, images by class column under their classes' names, at most 400 kB."""

import io
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jinv.errors import UsageError
from jinv.images.codec import fit_image

MAXIMUM_BYTES = 400_000
WIDTH = 1280
MOST_COLUMNS, FEW_COLUMNS = 20, 10
GAP = 6
TITLE = 58  # the height of a panel's title and its line of figures
PLAIN = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d",
     "þ": "th", "ł": "l", "Ł": "L", "ı": "i", "×": "x", "–": "-", "—": "-", "\N{THIN SPACE}": " ", "\N{NO-BREAK SPACE}": " "}
)  # fmt: skip
INK, SOFT, PAPER = (32, 29, 25), (107, 101, 92), (250, 248, 244)


class SheetPanel(NamedTuple):
    """A panel: title, a line of figures under it, and per column a class name with its uint8 images, top to bottom."""

    title: str
    line: str
    columns: Sequence[tuple[str, Sequence[np.ndarray]]]


def sheet_jpeg(title: str, panels: Sequence[SheetPanel], *, rows: int = 3) -> bytes:
    """The panels under each other, at most `rows` images of each class; JPEG of at most `MAXIMUM_BYTES`.

    Raises:
      UsageError: no panel has an image, or not even a coarse JPEG is small enough.
    """
    if not any(images for panel in panels for _, images in panel.columns):
        raise UsageError(f"{title}: there are no images to make a sheet of")
    picture = _draw(title, panels, rows)
    for scale in (1.0, 0.75, 0.5):
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
        for quality in (92, 86, 80, 72, 64, 55):
            buffer = io.BytesIO()
            (picture if scale == 1 else small).save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= MAXIMUM_BYTES:
                return buffer.getvalue()
    raise UsageError(f"{title}: a sheet of {picture.width}x{picture.height} pixels does not fit {MAXIMUM_BYTES} bytes")


def _draw(title: str, panels: Sequence[SheetPanel], rows: int) -> Image.Image:
    margin, head = 28, 58
    bands = [(band, per_line) for panel in panels for band, per_line in _bands(panel)]
    panels = [band for band, _ in bands]
    layouts = [_layout(band, per_line, rows, margin) for band, per_line in bands]
    height = head + sum(tall for *_, tall in layouts) + margin
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 20), cut(title, WIDTH - 2 * margin, 26), INK, font(26))
    top = head
    for panel, (cell, shown, tall) in zip(panels, layouts, strict=True):
        bottom = top + tall
        if panel.title:
            draw.text((margin, top + 8), cut(panel.title, WIDTH - 2 * margin, 17), INK, font(17))
            draw.text((margin, top + 32), cut(panel.line, WIDTH - 2 * margin, 13), SOFT, font(13))
            top += TITLE
        for column, (name, images) in enumerate(panel.columns):
            left = margin + column * (cell + GAP)
            draw.text((left, top), cut(name, cell, 12), SOFT, font(12))
            for row, pixels in enumerate(images[:shown]):
                sheet.paste(_cell(pixels, cell), (left, top + 20 + row * (cell + GAP)))
        top = bottom
    return sheet


def _bands(panel: SheetPanel) -> list[tuple[SheetPanel, int]]:
    """The panel in as many lines as its columns need to stay visible, each with the columns that a line holds.

    Single images of up to twice ten classes take two even lines. The second line on has no title.
    """
    count = max(len(panel.columns), 1)
    single = all(len(images) <= 1 for _, images in panel.columns)
    per_line = -(-count // 2) if single and FEW_COLUMNS < count <= 2 * FEW_COLUMNS else min(count, MOST_COLUMNS)
    return [
        (SheetPanel("" if start else panel.title, panel.line, panel.columns[start : start + per_line]), per_line)
        for start in range(0, count, per_line)
    ]


def _layout(panel: SheetPanel, columns: int, rows: int, margin: int) -> tuple[int, int, int]:
    """(side of an image, number of rows, height of the panel); a panel of few columns does not fill the width."""
    cell = min((WIDTH - 2 * margin - (columns - 1) * GAP) // columns, 224)
    shown = min(max((len(images) for _, images in panel.columns), default=0), rows)
    return cell, shown, (TITLE if panel.title else 0) + 20 + shown * (cell + GAP) + 16


def _cell(pixels: np.ndarray, side: int) -> Image.Image:
    """An image at the sheet's size: small ones with hard pixels, as the report shows them."""
    if pixels.shape[0] != pixels.shape[1]:
        pixels = fit_image(pixels, (min(pixels.shape[:2]),) * 2)
    way = Image.Resampling.NEAREST if max(pixels.shape[:2]) <= 96 else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((side, side), way)


def cut(text: str, width: int, size: int) -> str:
    """The text in the font's characters, with an ellipsis where it is wider than `width` pixels."""
    face, text = font(size), plain_text(text)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def plain_text(text: str) -> str:
    """The text as the font can write it, which has no accents: é as e, ø as o, × as x."""
    letters = unicodedata.normalize("NFD", text)
    return "".join(c for c in letters if not unicodedata.combining(c)).translate(PLAIN)


def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of sheets."""
    face = ImageFont.load_default(size)
    # Pillow's wheels have FreeType; without it there is only a bitmap font, of one size and without accents.
    assert isinstance(face, ImageFont.FreeTypeFont)
    return face
