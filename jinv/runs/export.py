"""Runs' images as the folders that other programs train on: a folder per class, or one folder and a list of labels.

    DIR/FOLDER_OF_CLASS/000003_name.png (or .jpg)   labels.csv   classes.json   class_map.txt

`labels.csv` has a line per image, `classes.json` the classes and runs, `class_map.txt`, beside folders of classes, the
folder of every label, by line, as timm's `class_map` takes it. The directory appears whole or not at all.
"""

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from jinv.core.choices import Layout, PictureFormat
from jinv.errors import RunConflictError, StorageError, UsageError, legible
from jinv.files import atomic_directory
from jinv.images.codec import JPEG_QUALITY, decode_image, picture_bytes
from jinv.images.folder import Watch, unwatched
from jinv.record.pictures import SUFFIXES, ImageRecord, read_picture
from jinv.record.run import RunRecord, open_run
from jinv.record.units import UNITS
from jinv.weights.labels import class_folders, slug

LISTS = ("classes.json", "labels.csv")


@dataclass(frozen=True)
class Form:
    """How images are exported.

    quality: of JPEGs, 1 to 100. link: pictures that are in the right format already are not copied. all_classes: a class
    without images has an empty folder.
    """

    layout: Layout = "imagefolder"
    format: PictureFormat = "png"
    quality: int | None = None
    link: Literal["hard", "symbolic"] | None = None
    all_classes: bool = False


class Exported(NamedTuple):
    """What an export came to; `classes` of `of_classes` have images, as far as it is known how many there are."""

    images: int
    classes: int
    of_classes: int
    linked: int
    unfinished: tuple[str, ...]


class _Source(NamedTuple):
    run: RunRecord
    prefix: str


def export(
    runs: Sequence[str | Path], directory: str | Path, form: Form, *, replace: bool = False, watch: Watch = unwatched
) -> Exported:
    """Make `directory` out of the images that are there of `runs`; `watch` is told of every image.

    Raises:
      UsageError: a form that cannot be, the same run twice, runs of other classes, `directory` in a run.
      RunConflictError: something lies there already; with `replace`, something that is no export.
      StorageError: no run, no image yet, a damaged or altered file, a full disk. UnsafeInputError: a damaged picture.
    """
    _check_form(form)
    paths, directory = [Path(run) for run in runs], Path(directory)
    sources = [_Source(open_run(path), prefix) for path, prefix in zip(paths, _prefixes(paths), strict=True)]
    check_directory(directory, paths, replace=replace)
    for source in sources:
        if not len(source.run):
            raise StorageError(f"{source.run.path}: none of its images is finished yet")
    names = _class_names(sources)
    folders = class_folders(names)
    images = [(source, image) for source in sources for image in source.run]
    with atomic_directory(directory, replace=replace) as temporary:
        present = range(len(folders)) if form.all_classes else sorted({image.label for _, image in images})
        if form.layout == "imagefolder":
            for label in present:
                (temporary / folders[label]).mkdir()
        export = _Export(form, temporary, Path(os.path.realpath(directory)), folders)
        rows = list(export.rows(watch(images, "exporting the images", len(images))))
        _write_lists(temporary, form, rows, folders, names, sources)
    unfinished = [
        f"{s.run.path}: the run is not finished: {len(s.run)} of its {len(s.run.labels)} images"
        for s in sources
        if not s.run.manifest.finished
    ]
    used = len({image.label for _, image in images})
    return Exported(len(images), used, len(folders), export.linked, tuple(unfinished))


def check_directory(directory: Path, runs: Sequence[Path], *, replace: bool) -> None:
    """Can an export begin there?

    Raises:
      UsageError: it lies in a run, or a run in it. StorageError: a file. RunConflictError: not empty.
    """
    target = Path(os.path.realpath(directory))
    for run in (Path(os.path.realpath(run)) for run in runs):
        if target == run or run in target.parents:
            raise UsageError(f"{directory}: is in the run {run}, whose files are its own; choose a directory elsewhere")
        if target in run.parents and (target / LISTS[0]).exists():
            raise UsageError(f"{directory}: has the run {run} in it; choose a directory elsewhere")
    if os.path.lexists(target) and not target.is_dir():
        raise StorageError(f"{directory}: is a file; name a directory, which is made")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not replace:
        raise RunConflictError(
            f"{directory}: already exists and is not empty; choose another directory, or replace an earlier export with --replace"
        )
    if not all((target / name).is_file() for name in LISTS):
        raise RunConflictError(f"{directory}: no export ({' and '.join(LISTS)} are missing); it is not replaced")


def _check_form(form: Form) -> None:
    if form.quality is not None and form.format != "jpeg":
        raise UsageError(f"--quality {form.quality}: is for --format jpeg; PNG loses nothing")
    if form.quality is not None and not 1 <= form.quality <= 100:
        raise UsageError(f"--quality {form.quality}: must be from 1 to 100")
    if form.all_classes and form.layout == "flat":
        raise UsageError("--all-classes: is for --layout imagefolder; a flat export has no folders")


def _prefixes(runs: Sequence[Path]) -> list[str]:
    """What the names of each run's files begin with: nothing of one run, else the runs' names, made different."""
    if len(runs) == 1:
        return [""]
    if len({os.path.realpath(run) for run in runs}) < len(runs):
        raise UsageError("the same run is named twice; each of its images is exported once")
    prefixes: list[str] = []
    for run in runs:
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(os.path.realpath(run)).name).strip(".-")[:60] or "run"
        free = (f"{name}{'' if number == 1 else f'-{number}'}_" for number in range(1, len(runs) + 1))
        taken = {prefix.lower() for prefix in prefixes}  # some file systems make no difference
        prefixes.append(next(prefix for prefix in free if prefix.lower() not in taken))
    return prefixes


def _class_names(sources: Sequence[_Source]) -> dict[int, str]:
    """By label the class' name, in all runs the same."""
    names: dict[int, str] = {}
    said: dict[int, Path] = {}
    for run in (source.run for source in sources):
        for label, name in zip(run.labels.tolist(), run.class_names, strict=True):
            if names.setdefault(label, name) != name:
                raise UsageError(
                    f"label {label} is {names[label]!r} in {said[label]} and {name!r} in {run.path}; export them apart"
                )
            said.setdefault(label, run.path)
    return names


class _Export:
    """The writing of images into `temporary`, which is going to be `final`."""

    def __init__(self, form: Form, temporary: Path, final: Path, folders: Sequence[str]) -> None:
        self.form, self.temporary, self.final, self.folders = form, temporary, final, folders
        self.linked = 0

    def rows(self, images: Iterable[tuple[_Source, ImageRecord]]) -> Iterator[dict[str, object]]:
        """Write each image; its line of labels.csv."""
        for source, image in images:
            name = f"{source.prefix}{image.index:06d}_{slug(image.class_name)}{SUFFIXES[self.form.format]}"
            if self.form.layout == "imagefolder":
                name = f"{self.folders[image.label]}/{name}"
            yield {
                "file": name,
                "label": image.label,
                "class_name": image.class_name,
                "run": str(source.run.path),
                "index": image.index,
                "source": image.file,
                "sha256": self._write(source.run.path, image, name),
            }

    def _write(self, run: Path, image: ImageRecord, name: str) -> str:
        """Write or link an image; its file's sha256."""
        ready = Path(image.file).suffix == SUFFIXES[self.form.format]
        if ready and self.form.quality is None:
            path, data = read_picture(run, image)
            if self.form.link is not None:
                if self.form.link == "symbolic" and path.is_relative_to(run / UNITS):
                    raise StorageError(
                        f"{path}: is not in the run's images/ yet, and goes there: a link to it would lead nowhere then; use "
                        "--link, or copy, or export once the run is finished"
                    )
                self._link(path, name)
                return hashlib.sha256(data).hexdigest()
        else:
            # What was altered is not exported as if it were the run's.
            path, data = read_picture(run, image)
            pixels = decode_image(data, str(path))
            data = picture_bytes(pixels, self.form.format, self.form.quality)
        # Plainly: `atomic_directory` syncs it before anybody sees it.
        (self.temporary / name).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def _link(self, picture: Path, name: str) -> None:
        real = os.path.realpath(picture)
        try:
            if self.form.link == "hard":
                os.link(real, self.temporary / name)
            else:
                os.symlink(os.path.relpath(real, (self.final / name).parent), self.temporary / name)
        except OSError as error:
            other = "--symlink, or copy" if self.form.link == "hard" else "--link, or copy"
            raise StorageError(
                f"{self.final / name}: cannot be a link to {picture}: {error.strerror or error}; use {other}"
            ) from error
        self.linked += 1


def _write_lists(
    folder: Path,
    form: Form,
    rows: Sequence[dict[str, object]],
    folders: Sequence[str],
    names: dict[int, str],
    sources: Sequence[_Source],
) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    counts = Counter(row["label"] for row in rows)
    about = {
        "jinv": version("jinv"),
        "layout": form.layout,
        "format": form.format,
        "quality": (form.quality or JPEG_QUALITY) if form.format == "jpeg" else None,
        "images": len(rows),
        "classes": [
            {"label": label, "class_name": names[label], "images": counts[label]}
            | ({"folder": folders[label]} if form.layout == "imagefolder" else {})
            for label in sorted(names)
        ],
        "runs": [
            {
                "run": str(run.path),
                "images": len(run),
                "of": len(run.labels),
                "finished": run.manifest.finished,
                "seed": run.manifest.seed,
                "models": [{"name": model.name, "sha256": model.sha256} for model in run.manifest.inverted],
            }
            for run in (source.run for source in sources)
        ],
    }
    (folder / "labels.csv").write_text(legible(text.getvalue()), encoding="utf-8")
    (folder / "classes.json").write_text(json.dumps(legible(about), indent=1) + "\n", encoding="utf-8")
    if form.layout == "imagefolder":
        (folder / "class_map.txt").write_text("".join(f"{name}\n" for name in folders), encoding="utf-8")
