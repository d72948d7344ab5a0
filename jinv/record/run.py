"""A run as a value, for notebooks and for whoever judges it: `open_run(directory).images`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jinv.errors import StorageError
from jinv.images.codec import read_image
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Evaluation
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine


@dataclass(frozen=True)
class RunRecord:
    """What a run left, finished or not; everything but the manifest is read when it is first asked for.

    Each attribute raises StorageError where its file is missing or images are not all there, UnsafeInputError where a record
    or a picture is damaged.
    """

    path: Path
    manifest: Manifest

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config as it was carried out."""
        return RunDirectory(self.path).config()

    @cached_property
    def metrics(self) -> list[MetricsLine]:
        """A line per logged step; empty before the first."""
        return RunDirectory(self.path).metrics()

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """What other networks say of the images, None where none was asked."""
        return RunDirectory(self.path).evaluation()

    @cached_property
    def images(self) -> np.ndarray:
        """float32 (n, height, width, 3) in the network's standardised units, before they were rounded to pictures."""
        path = self.path / "images.npy"
        try:
            images: np.ndarray = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise StorageError(f"{path}: is not there; the run is not finished") from None
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"{path}: cannot be read: {error}") from error
        if images.dtype != np.float32 or images.ndim != 4:
            raise StorageError(f"{path}: {images.dtype} of shape {images.shape} is no batch of images")
        return images

    @cached_property
    def picture_files(self) -> tuple[str, ...]:
        """The PNG files, relative to the run, one per label."""
        names = sorted(path.name for path in (self.path / "images").glob("*.png"))
        if [name[:6] for name in names] != [f"{i:06d}" for i in range(len(self.labels))]:
            raise StorageError(
                f"{self.path / 'images'}: {len(names)} images, the manifest has {len(self.labels)} labels"
            )
        return tuple(f"images/{name}" for name in names)

    @cached_property
    def pictures(self) -> np.ndarray:
        """uint8 (n, height, width, 3): the PNG files' pixels."""
        pictures = [read_image(self.path / name) for name in self.picture_files]
        if len({picture.shape for picture in pictures}) > 1:
            raise StorageError(f"{self.path / 'images'}: the images are not all of one size")
        return np.stack(pictures)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (n,): the class ids that the images were made for."""
        labels, names = self.manifest.labels, self.manifest.class_names
        if not labels or len(labels) != len(names):
            raise StorageError(f"{self.path / 'manifest.json'}: it does not say what the images' classes are")
        return np.asarray(labels, np.int64)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels' names, one per image."""
        return self.manifest.class_names


def open_run(directory: str | Path) -> RunRecord:
    """The run in `directory`.

    Raises:
      StorageError: there is none. RunConflictError: another version's. UnsafeInputError: its manifest is damaged.
    """
    path = Path(directory)
    manifest = RunDirectory(path).manifest()
    if manifest is None:
        raise StorageError(f"{directory}: not a run directory (no manifest.json)")
    return RunRecord(path, manifest)
