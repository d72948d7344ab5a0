"""The pictures that a network is trained and tested on: folders and zips with a folder per class, and runs."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UsageError, naming
from jinv.images.codec import fit_image
from jinv.images.folder import MANIFEST, Watch, open_image_folder, unwatched
from jinv.record.run import open_run
from jinv.training.views import Data
from jinv.weights.labels import folder_class

Kind = Literal["run", "real"]
"""Of pictures: made by jinv, or of a folder or zip."""


class Pictures(NamedTuple):
    """uint8 (n, size, size, 3), and int32 (n,) class ids."""

    pixels: np.ndarray
    labels: np.ndarray

    @property
    def data(self) -> Data:
        """As the training takes them."""
        return Data(jnp.asarray(self.pixels), jnp.asarray(self.labels))

    @property
    def sha256(self) -> str:
        """Of size, labels and pixels, wherever they were read from."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(self.labels.astype("<i4").tobytes())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    def drawn(self, count: int, seed: int) -> "Pictures":
        """`count` of them, of each class as many where there are so many, in an order by the seed.

        Raises:
          ValueError: there are not so many.
        """
        if count > len(self.labels):
            raise ValueError(f"there are {len(self.labels)}")
        shuffled = np.random.default_rng(seed).permutation(len(self.labels))
        # The first of each class, then the second of each ...
        rank = np.empty(len(shuffled), np.int64)
        for label in np.unique(self.labels):
            own = shuffled[self.labels[shuffled] == label]
            rank[own] = np.arange(len(own))
        chosen = shuffled[np.argsort(rank[shuffled], kind="stable")][:count]
        return Pictures(self.pixels[chosen], self.labels[chosen])


def check_unseen(pictures: Pictures, test: Pictures, key: str, path: str) -> None:
    """Refuse pictures, of the config's `key`, that are those of the test.

    Raises:
      UsageError: they are.
    """
    if pictures.sha256 == test.sha256:
        raise UsageError.of(key, f"{path} has the images of test, which what is trained is to have never seen")


def read_pictures(
    paths: Sequence[str],
    class_names: Sequence[str],
    size: int,
    key: str,
    watch: Watch = unwatched,
    kind: Kind | None = None,
) -> Pictures:
    """All pictures of folders, zips and runs one after another, each fitted to `size`; `key` is the config's.

    Args:
      kind: what all of them have to be.

    Raises:
      StorageError, UnsafeInputError: one cannot be read, is damaged, or a run that is not finished. UsageError: a picture whose folder is no class;
        another kind. ModelMismatchError: a run of other classes.
    """
    pixels, labels = [], []
    for path in paths:
        run = kind == "run" or (Path(path) / MANIFEST).exists()
        if run and kind == "real":
            raise UsageError.of(
                key, f"{path}: is a run; real images are asked for, in a folder or zip with a folder per class"
            )
        with naming(key):
            for picture, label in (_of_run if run else _of_folder)(path, class_names, watch):
                pixels.append(fit_image(picture, (size, size)))
                labels.append(label)
    return Pictures(np.stack(pixels), np.asarray(labels, np.int32))


def _of_folder(path: str, class_names: Sequence[str], watch: Watch) -> Iterator[tuple[np.ndarray, int]]:
    folder = open_image_folder(path)
    found = {name: folder_class(name, class_names) for name in folder.names}
    strange = [name for name, label in found.items() if label is None]
    if strange:
        known = ", ".join(class_names[:10]) + (" ..." if len(class_names) > 10 else "")
        raise UsageError(
            f"{path}: {strange[0]} lies in no class' folder ({len(strange)} of {len(found)} do not; classes: {known})"
        )
    for name, picture in folder.watched(watch, f"reading {folder.path.name}").read():
        label = found[name]
        assert label is not None
        yield picture, label


def _of_run(path: str, class_names: Sequence[str], watch: Watch) -> Iterator[tuple[np.ndarray, int]]:
    run = open_run(path)
    if not run.manifest.finished:
        raise StorageError(f"{path}: the run is not finished; continue it with jinv synthesize --resume")
    for image in watch(run, f"reading {run.path.name}", len(run)):
        if image.label >= len(class_names) or class_names[image.label] != image.class_name:
            raise ModelMismatchError(
                f"{path}: its class {image.label} is {image.class_name!r}, which is none of the network's"
            )
        yield image.pixels, image.label
