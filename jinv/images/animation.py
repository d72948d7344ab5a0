"""Pictures one after another as an animated WebP."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

MAXIMUM_BYTES = 1_500_000
QUALITIES = (90, 75, 50, 25, 5)
FRAME_MS, LAST_MS = 100, 2000


def animation_bytes(frames: Sequence[np.ndarray]) -> bytes:
    """Equal-sized uint8 (H, W, 3) as an endless animation, whose last frame is shown for longer; the same pixels give the
    same bytes. Lossy WebP of the first of `QUALITIES` at which it has at most `MAXIMUM_BYTES`, or of the last.

    Raises:
      ValueError: no frame.
    """
    if not frames:
        raise ValueError("frames: at least one is needed")
    first, *others = (Image.fromarray(frame) for frame in frames)
    shown = [FRAME_MS] * len(others) + [LAST_MS]
    data = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        first.save(
            buffer, "WEBP", save_all=True, append_images=others, duration=shown, loop=0, quality=quality, method=4
        )
        data = buffer.getvalue()
        if len(data) <= MAXIMUM_BYTES:
            break
    return data


def first_frame(data: bytes) -> tuple[str, int, int]:
    """The first frame of an animation as a data URL of a JPEG, its width and its height."""
    with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=85)
        width, height = image.size
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height
