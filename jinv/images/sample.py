"""A bounded part of however many images, class by class: for pages, grids, and figures that take all pairs."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from jinv.images.codec import grid_png, resize_image

SHOWN_IMAGES = 256
"""Of a run, on its page; beside them alone real ones are shown."""

GRID_IMAGES = 100
GRID_PIXELS = 16_000_000

GOLDEN = (5**0.5 - 1) / 2


def sample_by_class(labels: Sequence[Hashable] | np.ndarray, most: int) -> list[int]:
    """Indices of at most `most` images, ascending, all where those are not more: else the first k of every class, k as large
    as it may be, of smaller classes all. Where not even one of each has room, the first of classes evenly spread. A
    smaller sample is part of a larger one.
    """
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    rounds: list[list[int]] = []
    seen: dict[Hashable, int] = {}
    for index, label in enumerate(values):
        place = seen.get(label, 0)
        seen[label] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(index)
    chosen: list[int] = []
    for members in rounds:
        if len(chosen) + len(members) > most:
            return sorted(chosen or _spread(members)[:most])
        chosen += members
    return sorted(chosen)


def _spread(members: list[int]) -> list[int]:
    """Those that a sample has first are evenly spread, however many it has, and a smaller sample is part of a larger one."""
    ranks = sorted(range(len(members)), key=lambda place: place * GOLDEN % 1)
    return [members[place] for place in ranks]


def draw_by_class(labels: Sequence[Hashable] | np.ndarray, most: int, *, seed: int = 0) -> np.ndarray:
    """int64 indices of at most `most` images, ascending, drawn at random, of every class as many as of any other."""
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    order = np.random.default_rng(seed).permutation(len(values))
    drawn = sample_by_class([values[index] for index in order], most)
    return np.sort(order[drawn])


def sample_grid_png(
    labels: Sequence[Hashable] | np.ndarray, picture: Callable[[int], np.ndarray], *, most: int = GRID_IMAGES
) -> bytes:
    """`grid_png` of at most `most` images of `GRID_PIXELS` together, sampled by class; more pixels are shrunk.

    `picture(index)` gives one, uint8 (H, W, 3), all of one size. It is asked for each that is shown, once.
    """
    chosen = sample_by_class(labels, most)
    return grid_png([_shrunk(picture(index), GRID_PIXELS / len(chosen)) for index in chosen])


def _shrunk(image: np.ndarray, pixels: float) -> np.ndarray:
    height, width = image.shape[:2]
    if height * width <= pixels:
        return image
    scale = (pixels / (height * width)) ** 0.5
    return resize_image(image, (max(1, int(height * scale)), max(1, int(width * scale))))
