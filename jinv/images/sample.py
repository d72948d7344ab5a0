"""A bounded part of however many images, class by class: for pages, grids, and figures that take all pairs."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from jinv.images.codec import grid_png, resize_image

GRID_IMAGES = 100
GRID_PIXELS = 16_000_000


def sample_by_class(labels: Sequence[Hashable] | np.ndarray, most: int) -> list[int]:
    """Indices of at most `most` images, ascending: of every class the first, then of every class the second, and so on.

    The last round, where there is no room for all classes, takes some that are evenly spread over them.
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
        room = min(most - len(chosen), len(members))
        chosen += [members[place * len(members) // room] for place in range(room)]
    return sorted(chosen)


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
