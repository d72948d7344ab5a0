"""The optimisation as an animation: some of the first batch's images at moments evenly over all steps, `[output] frames`.

They are part of what a batch is made of: a checkpoint holds those before it, so that a resumed run ends with the same bytes,
and frames.webp becomes a file of the batch, which goes on to the run's own folder as its pictures do.
"""

from typing import Any

import numpy as np

from jinv.experiment.experiment import Experiment
from jinv.images.animation import animation_bytes
from jinv.images.codec import grid_image, resize_image
from jinv.images.sample import sample_by_class

FRAMES = "frames.webp"
SHOWN_IMAGES = 16
FRAME_PIXELS, ALL_PIXELS = 640_000, 8_000_000
"""Of one frame and of all: larger images are shrunk."""

LEAST_SIDE = 512
"""Of the longer side of a frame, about: smaller ones are enlarged."""


class Frames:
    """The frames of a batch so far, uint8 (height, width, 3) each; none of a batch but the first, or where none are asked for."""

    def __init__(self, experiment: Experiment, number: int) -> None:
        self.experiment = experiment
        self.wanted = number == 0 and bool(experiment.frames)
        self.shown: list[np.ndarray] = []

    def begin(self, kept: Any) -> None:
        """The batch begins, or goes on with the frames of a checkpoint."""
        self.shown = [] if kept is None else list(kept)
        if self.wanted and not self.shown:
            self.add(self.experiment.start(0))

    def add(self, images: Any) -> None:
        """A frame of the batch's images (n, height, width, 3), in network units."""
        experiment = self.experiment
        chosen = sample_by_class(experiment.labels[experiment.batches[0]], SHOWN_IMAGES)
        # A batch that is no longer finite is made anew, or fails; until then its frames are black.
        pictures = experiment.classifier.to_uint8(np.nan_to_num(np.asarray(images)[chosen]))
        count, height, width = pictures.shape[:3]
        room = min(FRAME_PIXELS, ALL_PIXELS / len(experiment.frames)) / count
        if height * width > room:
            scale = (room / (height * width)) ** 0.5
            size = max(1, int(height * scale)), max(1, int(width * scale))
            pictures = np.stack([resize_image(picture, size) for picture in pictures])
        self.shown.append(grid_image(pictures))

    @property
    def state(self) -> np.ndarray | None:
        """What a checkpoint keeps, (frames, height, width, 3)."""
        return np.stack(self.shown) if self.shown else None

    def files(self) -> dict[str, bytes]:
        """The animation's file by its name."""
        return {FRAMES: animation_bytes([_enlarged(frame) for frame in self.shown])} if self.shown else {}


def _enlarged(frame: np.ndarray) -> np.ndarray:
    """A small frame with every pixel several times: WebP's colours are those of two by two pixels."""
    times = max(1, LEAST_SIDE // max(frame.shape[:2]))
    return frame.repeat(times, axis=0).repeat(times, axis=1)
