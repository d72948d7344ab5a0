"""Animations: whose frames are what was given, in bounded bytes, the same for the same pixels."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from jinv.images.animation import MAXIMUM_BYTES, animation_bytes, first_frame


def test_frames_come_back_in_order_and_the_same_pixels_give_the_same_bytes():
    shades = [np.full((32, 48, 3), shade, np.uint8) for shade in (10, 120, 240)]
    data = animation_bytes(shades)
    assert data == animation_bytes(shades)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3 and image.info["loop"] == 0
        for number, shade in enumerate(shades):
            image.seek(number)
            assert np.abs(np.asarray(image.convert("RGB"), int) - shade).max() < 8
    still, width, height = first_frame(data)
    with Image.open(io.BytesIO(base64.b64decode(still.partition(",")[2]))) as image:
        assert image.size == (width, height) == (48, 32) and np.asarray(image, int).mean() == pytest.approx(10, abs=4)
    with pytest.raises(ValueError, match="at least one"):
        animation_bytes([])


def test_noise_takes_a_lower_quality_so_that_a_page_can_carry_it():
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (200, 200, 3), dtype=np.uint8) for _ in range(60)]
    assert sum(frame.nbytes for frame in frames) > 4 * MAXIMUM_BYTES
    assert 0.1 * MAXIMUM_BYTES < len(animation_bytes(frames)) <= MAXIMUM_BYTES
