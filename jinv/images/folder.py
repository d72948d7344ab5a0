"""A folder or a zip of real images, with one subfolder per class or none: listed once, read one by one."""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv.images.codec import FREE_PIXELS, MAXIMUM_BYTES, PIXELS_PER_BYTE, decode_image, read_picture_file

MANIFEST = "manifest.json"
"""A directory with that file is a run's, whose grid is no picture of a class."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAXIMUM_FILES = 2_000_000

FREE_PICTURES = 2
"""So many pictures of one colour, as large as they may be, are read of a folder; see `jinv.images.codec.PIXELS_PER_BYTE`."""

Watch = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""(items, what is done with them, how many there are) -> the items; whoever waits is told of each."""


def unwatched(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """The items; nobody is told."""
    return items


@dataclass(frozen=True)
class ImageFolder:
    """`names` are sorted relative paths with forward slashes; a name's first folder is its class.

    Other files (Thumbs.db, .DS_Store, text) and hidden folders are passed over. Links to folders are followed, and a
    folder that is reached twice is listed once; nothing is ever extracted to disk.
    """

    path: Path
    names: tuple[str, ...]
    zipped: bool
    watch: Watch = unwatched
    what: str = ""

    def watched(self, watch: Watch, what: str) -> "ImageFolder":
        """The same, of whose reading `watch` is told."""
        return replace(self, watch=watch, what=what)

    def read(self, names: list[str] | tuple[str, ...] | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """(name, uint8 pixels) of `names`, by default of all.

        Raises:
          UnsafeInputError: a damaged picture or zip. StorageError: unreadable.
        """
        chosen = self.names if names is None else names
        yield from self.watch(self._read(chosen), self.what, len(chosen))

    def _read(self, chosen: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
        pixels, most = 0, FREE_PIXELS * FREE_PICTURES
        for number, (name, data, shown) in enumerate(self._files(chosen)):
            most += PIXELS_PER_BYTE * len(data)
            if pixels > most:
                raise UnsafeInputError(
                    f"{self.path}: its first {number} images have {pixels} pixels, so few bytes may have {most}"
                )
            picture = decode_image(data, shown)
            pixels += picture.shape[0] * picture.shape[1]
            yield name, picture

    def _files(self, chosen: Sequence[str]) -> Iterator[tuple[str, bytes, str]]:
        """(name, bytes, name for messages) of each."""
        if not self.zipped:
            yield from ((name, read_picture_file(self.path / name), str(self.path / name)) for name in chosen)
            return
        with _open_zip(self.path) as archive:
            for name in chosen:
                yield name, _read_entry(archive, name, self.path), f"{self.path}: {name}"


def open_image_folder(path: str | Path) -> ImageFolder:
    """List a folder or zip of images.

    Raises:
      StorageError: there is none. UnsafeInputError: not a sound zip. UsageError: no images in it.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        raise UsageError(f"{path}: is a run's directory; its images alone are in {path / 'images'}")
    if path.is_dir():
        found = [p.relative_to(path).as_posix() for p in _walk(path)]
        zipped = False
    elif path.is_file():
        with _open_zip(path) as archive:
            found = [info.filename for info in archive.infolist() if not info.is_dir()]
        zipped = True
    else:
        raise StorageError(f"{path}: no such folder or zip of images")
    names = tuple(sorted({name for name in found if _wanted(name)}))
    if not names:
        raise UsageError(f"{path}: no images in it ({', '.join(SUFFIXES)})")
    return ImageFolder(path, names, zipped)


def _walk(folder: Path, listed: set[Path] | None = None) -> Iterator[Path]:
    listed = set() if listed is None else listed
    listed.add(folder.resolve())
    try:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir():
                if not entry.name.startswith(".") and entry.resolve() not in listed:
                    yield from _walk(entry, listed)
            elif entry.is_file():
                yield entry
    except OSError as error:
        raise StorageError(f"{folder}: cannot be listed: {error.strerror}") from error


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnsafeInputError(f"{path}: neither a folder nor a sound zip: {error}") from error
    if len(archive.infolist()) > MAXIMUM_FILES:
        archive.close()
        raise UnsafeInputError(f"{path}: more than {MAXIMUM_FILES} files")
    return archive


def _read_entry(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        with archive.open(name) as file:
            # Bounded by what comes out, not by what the zip's directory promises.
            data = file.read(MAXIMUM_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError, OSError) as error:
        raise UnsafeInputError(f"{path}: {name}: cannot be read from the zip: {error}") from error
    if len(data) > MAXIMUM_BYTES:
        raise UnsafeInputError(f"{path}: {name}: more than {MAXIMUM_BYTES} bytes, the limit for a picture")
    return data
