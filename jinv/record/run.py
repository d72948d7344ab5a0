"""A run as a value, for notebooks and for whoever judges it: `open_run(directory).images`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import numpy as np

from jinv.errors import StorageError
from jinv.images.codec import decode_image, read_image
from jinv.images.folder import MANIFEST
from jinv.record.config import CONFIG, batch_of, is_batch
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Evaluation
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine
from jinv.record.pictures import ImageRecord, picture_data, picture_files
from jinv.record.sealed import digest_of
from jinv.record.shards import INDEX, Shards, mapped, read_shards
from jinv.record.timing import StepTime, iter_times
from jinv.record.units import final_units, unpublished_pictures
from jinv.record.workers import WORKERS

MAXIMUM_LABEL = 10_000_000
"""Classes are counted, and folders named, up to an image's label: no network has so many."""


@dataclass(frozen=True)
class RunRecord:
    """What a run left, finished or not; everything but the manifest is read when it is first asked for.

    It is a sequence of the images that are there, all of a finished run, an unfinished one's finished batches:
    `len(run)`, `run[0].pixels`, `for image in run`. One image is read at a time, and none is kept.

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
    def timing(self) -> "list[StepTime | None]":
        """Of each line of `metrics` when it was logged, at what speed, in how much memory; None where that is not known."""
        known: dict[tuple[int, int], StepTime] = {}
        for time in iter_times(self.path, self.path / WORKERS):
            before = known.setdefault((time.batch, time.step), time)
            if time.at > before.at:  # who came later made the line that is there
                known[time.batch, time.step] = time
        return [known.get((line.batch, line.step)) for line in self.metrics]

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """What other networks say of the images, None where none was asked."""
        return RunDirectory(self.path).evaluation()

    @cached_property
    def images(self) -> "np.ndarray | Shards":
        """float32 (n, height, width, 3) in the network's standardised units, before they were rounded to pictures.

        Mapped into memory and read-only: of a set that is larger than memory too, `run.images[5]` reads one image. Of a run
        whose images lie in shards, what is indexed like an array, and becomes one, all in memory, by `np.asarray`.
        """
        path = self.path / "images.npy"
        if not path.exists():
            if self.manifest.finished and (self.path / INDEX).exists():
                return read_shards(self.path, len(self.labels))
            whose = "its pictures are read without it" if self.manifest.finished else "the run is not finished"
            raise StorageError(f"{path}: is not there; {whose}")
        images = mapped(path)
        if images.dtype != np.float32 or images.ndim != 4:
            raise StorageError(f"{path}: {images.dtype} of shape {images.shape} is no batch of images")
        return images

    @cached_property
    def picture_files(self) -> tuple[str, ...]:
        """The PNG or JPEG files, relative to the run, one per label."""
        found = picture_files(self.path)
        if list(found) != list(range(len(self.labels))):
            raise StorageError(
                f"{self.path / 'images'}: {len(found)} images, the manifest has {len(self.labels)} labels"
            )
        return tuple(found.values())

    @cached_property
    def pictures(self) -> np.ndarray:
        """uint8 (n, height, width, 3): the picture files' pixels, all of them in memory."""
        pictures = [read_image(self.path / name) for name in self.picture_files]
        if len({picture.shape for picture in pictures}) > 1:
            raise StorageError(f"{self.path / 'images'}: the images are not all of one size")
        return np.stack(pictures)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (n,): the class ids that the images were made for, also those that are not there yet."""
        labels, names = self.manifest.labels, self.manifest.class_names
        if not labels or len(labels) != len(names):
            raise StorageError(f"{self.path / MANIFEST}: it does not say what the images' classes are")
        if wrong := [label for label in labels if not 0 <= label < MAXIMUM_LABEL]:
            raise StorageError(f"{self.path / MANIFEST}: labels: {wrong[0]} is no class id")
        return np.asarray(labels, np.int64)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels' names, one per image."""
        return self.manifest.class_names

    @cached_property
    def records(self) -> tuple[ImageRecord, ...]:
        """The images that are there, in order, with what is known of each: label, file, digest, who said what of it."""
        labels, sealed = self.labels.tolist(), self.manifest.outputs or {}
        opinions = {name: verdict.per_image for name, verdict in (self.evaluation or Evaluation()).verifiers.items()}
        files = self._sources
        return tuple(
            ImageRecord(
                index=i,
                label=labels[i],
                class_name=self.class_names[i],
                file=file,
                sha256=sealed.get(file),
                opinions={name: said[i] for name, said in opinions.items() if i < len(said)},
                _pixels=partial(self._pixels, i, file),
            )
            for i, file in files.items()
        )

    def __len__(self) -> int:
        return len(self._sources)

    def __bool__(self) -> bool:
        return True  # also before its first image

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(self.records)

    @overload
    def __getitem__(self, place: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[ImageRecord, ...]: ...
    def __getitem__(self, place: int | slice) -> ImageRecord | tuple[ImageRecord, ...]:
        return self.records[place]

    def verify(self) -> None:
        """Every file that the manifest has a digest of, against it.

        Raises:
          StorageError: the run is not sealed, or files are missing or altered: the first of them, and how many.
        """
        sealed = self.manifest.outputs
        if not (self.manifest.finished and sealed):
            raise StorageError(f"{self.path}: the run is not finished, so there are no digests to compare with")
        wrong = [words for name, digest in sealed.items() if (words := _difference(self.path / name, digest))]
        if wrong:
            raise StorageError("; ".join(wrong[:3]) + (f" ({len(wrong)} files in all)" if len(wrong) > 3 else ""))

    @cached_property
    def _sources(self) -> dict[int, str]:
        """By number the file of each image that is there."""
        if self.manifest.finished:
            return dict(enumerate(self.picture_files))
        count = len(self.labels)
        found = self._published
        if len(found) < count:
            elsewhere: dict[int, str] = {}
            for number in final_units(self.path):
                size = self._batch_size
                images = range(number * size, min((number + 1) * size, count))
                if not all(i in found for i in images):
                    elsewhere |= unpublished_pictures(self.path, number)
            found = elsewhere | self._published  # looked at again: what was moved meanwhile was in neither
        return dict(sorted(found.items()))

    @property
    def _published(self) -> dict[int, str]:
        return {i: name for i, name in picture_files(self.path).items() if i < len(self.labels)}

    @property
    def _batch_size(self) -> int:
        size = batch_of(self.config, len(self.labels))
        if not is_batch(size):
            raise StorageError(f"{self.path / CONFIG}: image.batch: {size!r} is no number of images")
        return int(size)

    def _pixels(self, index: int, file: str) -> np.ndarray:
        if self.manifest.finished:
            return read_image(self.path / file)
        path, data = picture_data(self.path, index, file)
        return decode_image(data, str(path))


def open_run(directory: str | Path, *, verify: bool = False) -> RunRecord:
    """The run in `directory`; with `verify` every one of its files is compared with its digest first.

    Raises:
      StorageError: there is none, or `verify` finds a file missing or altered. RunConflictError: another version's.
      UnsafeInputError: its manifest is damaged.
    """
    path = Path(directory)
    manifest = RunDirectory(path).manifest()
    if manifest is None:
        raise RunDirectory(path).no_run()
    record = RunRecord(path, manifest)
    if verify:
        record.verify()
    return record


def _difference(path: Path, digest: str) -> str | None:
    try:
        found = digest_of(path)
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"
    return None if found == digest else f"{path}: altered since the run was sealed: its sha256 is not the manifest's"
