"""The picture files of a run, and an image of one with all that is known of it."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jinv.core.choices import PictureFormat
from jinv.errors import StorageError
from jinv.images.codec import decode_image, read_picture_file
from jinv.record.evaluation import Opinion

SUFFIXES: dict[PictureFormat, str] = {"png": ".png", "jpeg": ".jpg"}
_NAME = re.compile(r"(\d{6})_[^.].*(?:\.png|\.jpg)")


def picture_files(run: Path) -> dict[int, str]:
    """By an image's number its file relative to `run`, in order: in images/ itself or in a folder per class there.

    Raises:
      StorageError: two files have the same number, or the folder cannot be listed.
    """
    found: dict[int, str] = {}
    try:
        names = sorted(path.relative_to(run).as_posix() for path in (run / "images").rglob("*"))
    except OSError as error:
        raise StorageError(f"{run / 'images'}: cannot be listed: {error.strerror or error}") from error
    for name in names:
        if match := _NAME.fullmatch(name.rpartition("/")[2]):
            number = int(match[1])
            if number in found:
                raise StorageError(f"{run}: {found[number]} and {name} are both image {number}")
            found[number] = name
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class ImageRecord:
    """One image of a run; its pixels are read when they are asked for, and not kept.

    index: its number in the run. file: its picture, relative to the run.
    sha256: that file's in the manifest, None where the run is not sealed. opinions: what each verifier said.
    """

    index: int
    label: int
    class_name: str
    file: str
    sha256: str | None = None
    opinions: dict[str, Opinion] = field(default_factory=dict)
    _pixels: Callable[[], np.ndarray] = field(default=lambda: np.zeros((0, 0, 3), np.uint8), repr=False, compare=False)

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (height, width, 3).

        Raises:
          StorageError: the file cannot be read, or holds an array of another shape. UnsafeInputError: no sound picture.
        """
        return self._pixels()


def read_picture(run: Path, image: ImageRecord) -> tuple[Path, bytes]:
    """Where an image's file is, and its bytes, which are what the run was sealed with, or at least a sound picture.

    Raises:
      StorageError: it cannot be read, or was altered since. UnsafeInputError: no sound picture.
    """
    if image.sha256 is None:
        path, data = picture_data(run, image.index, image.file)
        decode_image(data, str(path))
        return path, data
    path = run / image.file
    data = read_picture_file(path)
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise StorageError(f"{path}: altered since the run was sealed: its sha256 is not the manifest's")
    return path, data


def picture_data(run: Path, index: int, file: str) -> tuple[Path, bytes]:
    """Where the file of an unfinished run's image is by now, and its bytes: what lay with its unit when it was listed is in
    images/ once it was published.

    Raises:
      As `read_picture_file`.
    """
    try:
        return run / file, read_picture_file(run / file)
    except StorageError:
        moved = picture_files(run).get(index)
        if moved is None or moved == file:
            raise
        return run / moved, read_picture_file(run / moved)
