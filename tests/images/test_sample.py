"""A bounded part of many images: which ones, of every class alike, and the grid of them."""

import numpy as np
import pytest

from jinv.images import sample
from jinv.images.codec import decode_image, grid_png
from jinv.images.sample import draw_by_class, sample_by_class, sample_grid_png


@pytest.mark.parametrize(
    ("labels", "most", "expected"),
    [
        ([0, 1, 2, 0, 1, 2, 0], 7, [0, 1, 2, 3, 4, 5, 6]),
        ([0, 1, 2, 0, 1, 2, 0], 6, [0, 1, 2, 3, 4, 5]),
        ([0, 1, 2, 0, 1, 2, 0], 5, [0, 1, 2]),
        ([7, 7, 7, 3, 3, None], 5, [0, 1, 3, 4, 5]),
        (["a"] * 9, 3, [0, 1, 2]),
        ([1, 0, 2], 1, [0]),
        ([], 5, []),
    ],
)
def test_of_every_class_the_first_ones_are_taken(labels, most, expected):
    assert sample_by_class(labels, most) == expected


@pytest.mark.parametrize("most", [8, 64, 256])
def test_of_more_classes_than_there_is_room_for_evenly_spread_ones(most):
    labels = np.arange(3000) % 1000
    chosen = sample_by_class(labels, most)
    assert len(chosen) == most and max(chosen) < 1000
    gaps = np.diff([*chosen, 1000 + chosen[0]])
    assert gaps.max() <= 2.7 * 1000 / most and gaps.min() >= 0.3 * 1000 / most
    assert set(chosen) <= set(sample_by_class(labels, 2 * most))


def test_a_draw_has_as_many_of_every_class_and_is_the_same_again():
    labels = np.arange(600) % 3
    drawn = draw_by_class(labels, 100)
    assert np.bincount(labels[drawn]).tolist() == [33, 33, 33]
    assert drawn.tolist() == sorted(set(drawn.tolist())) == draw_by_class(labels, 100).tolist()
    assert drawn.tolist() != draw_by_class(labels, 100, seed=1).tolist()
    # At random: as many from the second half, within five standard deviations.
    assert abs((drawn >= 300).sum() - 50) < 25
    assert draw_by_class(labels, 600).tolist() == list(range(600))


def test_a_grid_of_few_images_is_what_it_was_and_of_many_a_sample(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 6, 3), np.uint8)
    labels, asked = np.arange(30) % 10, []

    def picture(index):
        asked.append(index)
        return images[index]

    assert sample_grid_png(labels, picture, most=30) == grid_png(images) and asked == list(range(30))
    asked.clear()
    assert sample_grid_png(labels, picture, most=25) == grid_png(images[:20]) and asked == list(range(20))
    monkeypatch.setattr(sample, "GRID_PIXELS", 30 * 2 * 3)
    small = decode_image(sample_grid_png(labels, picture), "grid")
    assert small.shape == decode_image(grid_png(images[:, :2, :3]), "grid").shape
