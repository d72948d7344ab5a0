"""A picture beside the gradients of terms in its pixels, as one PNG: blue where a term falls with the pixel, red where it rises."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from jinv.images.codec import png_bytes
from jinv.report.charts import format_number
from jinv.report.contact_sheet import INK, PAPER, SOFT, cut, font

SIDE, GAP, MARGIN, TITLE, HEAD = 256, 18, 24, 44, 62
MOST_COLUMNS = 4
PERCENTILE = 99.5
"""Of a panel's sizes, which has the full colour: single pixels would leave all others pale."""

FALLS, NOTHING, RISES = (33, 102, 172), (247, 247, 247), (178, 24, 43)


class Panel(NamedTuple):
    """A term's name, a line about it, and its gradient (height, width, 3)."""

    title: str
    line: str
    gradient: np.ndarray


def attribution_png(title: str, line: str, picture: np.ndarray, panels: Sequence[Panel]) -> bytes:
    """The picture, uint8 (height, width, 3), and a panel per term, each on a scale of its own, symmetric around 0."""
    cells = [("the image", "", picture)]
    for panel in panels:
        colored, scale = diverging(panel.gradient)
        said = f"full colour at ±{format_number(scale)}" if scale else "zero everywhere"
        cells.append((panel.title, f"{panel.line}{said}", colored))
    columns = min(len(cells), MOST_COLUMNS)
    rows = -(-len(cells) // columns)
    width = 2 * MARGIN + columns * SIDE + (columns - 1) * GAP
    height = picture.shape[0] * SIDE // max(picture.shape[:2])
    sheet = Image.new("RGB", (width, HEAD + rows * (TITLE + height + GAP) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 16), cut(title, width - 2 * MARGIN, 20), INK, font(20))
    draw.text((MARGIN, 42), cut(line, width - 2 * MARGIN, 12), SOFT, font(12))
    for number, (name, said, pixels) in enumerate(cells):
        left = MARGIN + number % columns * (SIDE + GAP)
        top = HEAD + 8 + number // columns * (TITLE + height + GAP)
        draw.text((left, top), cut(name, SIDE, 14), INK, font(14))
        draw.text((left, top + 18), cut(said, SIDE, 11), SOFT, font(11))
        small = max(pixels.shape[:2]) <= 96
        way = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        drawn = Image.fromarray(pixels).resize((pixels.shape[1] * SIDE // max(pixels.shape[:2]), height), way)
        sheet.paste(drawn, (left, top + TITLE - 8))
    return png_bytes(np.asarray(sheet))


def diverging(gradient: np.ndarray) -> tuple[np.ndarray, float]:
    """A gradient's sum over channels in colours, uint8 (height, width, 3), and the size that has the full one; 0 of none."""
    values = gradient.sum(axis=-1, dtype=np.float64)
    scale = float(np.percentile(np.abs(values), PERCENTILE)) or float(np.abs(values).max())
    share = np.clip(values / (scale or 1.0), -1, 1)[..., None]
    ends = np.where(share < 0, np.array(FALLS, np.float64), np.array(RISES, np.float64))
    colors = np.array(NOTHING) + np.abs(share) * (ends - np.array(NOTHING))
    return np.rint(colors).astype(np.uint8), scale
