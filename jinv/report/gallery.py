"""Which images of a run a page carries, and how: so many, and so heavy, that it opens whatever the run's size."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jinv.images.codec import jpeg_bytes, read_image, resize_image
from jinv.images.sample import SHOWN_IMAGES, sample_by_class
from jinv.record.evaluation import Nearest, Opinion
from jinv.record.manifest import Manifest
from jinv.report.totals import VerifierView, count_text

SIDES = (512, 256, 128)
"""To which the longer side of images is shrunk where they would weigh too much."""


class Room(NamedTuple):
    """What a page has for a run's images: at most so many, in so many bytes; where those are not enough, images are
    rather left out down to `fewest` than shrunk below the first of `SIDES`. Real images beside them have a quarter more.
    """

    images: int = SHOWN_IMAGES
    size: int = 4_000_000
    fewest: int = 64


@dataclass(frozen=True)
class OpinionView:
    """What the verifier of this short name says of an image."""

    verifier: str
    opinion: Opinion


@dataclass(frozen=True)
class NeighborView:
    """A real image near to one of the run's; `source` is its thumbnail as a data URL."""

    name: str
    distance: float
    source: str


@dataclass(frozen=True)
class ImageView:
    """One of the run's images; `source` is a data URL, `label` None where the manifest does not know it.

    height, width: the image's own, also where the page carries a smaller one.
    """

    index: int
    file: str
    source: str
    height: int
    width: int
    class_name: str
    label: int | None
    opinions: tuple[OpinionView, ...]
    neighbors: tuple[NeighborView, ...]

    @property
    def small(self) -> bool:
        """Whether pages show its pixels as squares."""
        return max(self.height, self.width) <= 96

    @property
    def judged(self) -> str:
        """What the verifiers say together: "right", "wrong", "divided", or "" where there are none."""
        right = sum(o.opinion.correct for o in self.opinions)
        if not self.opinions:
            return ""
        return "right" if right == len(self.opinions) else "wrong" if not right else "divided"


class Picture(NamedTuple):
    """A data URL, and the image's own height and width."""

    source: str
    height: int
    width: int


@dataclass(frozen=True)
class Gallery:
    """The images that a page carries: all `total` of the run, or some, as the sentence `sampled` then says.

    exact: they are the run's own files; else JPEGs, whose longer side is at most `side`.
    """

    images: list[ImageView]
    total: int
    exact: bool
    side: int | None = None
    sampled: str = ""


def make_gallery(
    run: Path, files: Mapping[int, str], manifest: Manifest, verdicts: Sequence[VerifierView], room: Room
) -> Gallery:
    """The gallery of a run whose images are in `files`, by number; one is decoded at a time.

    Raises:
      StorageError, UnsafeInputError: an image that is shown cannot be read, or is damaged.
    """
    names, labels = manifest.class_names, manifest.labels
    numbers = list(files)
    classes = [labels[i] if i < len(labels) else names[i] if i < len(names) else "" for i in numbers]
    places, pictures, side = _fitting(run, [files[i] for i in numbers], classes, room)
    shown = [files[numbers[place]] for place in places]
    opinions = [(v.short, _said(v.verdict.per_image, shown)) for v in verdicts]
    nearest = _nearest(run, verdicts, shown, room.size // 4)
    images = [
        ImageView(
            index=(index := numbers[place]),
            file=(file := files[index]),
            source=picture.source,
            height=picture.height,
            width=picture.width,
            class_name=names[index] if index < len(names) else "",
            label=labels[index] if index < len(labels) else None,
            opinions=tuple(OpinionView(short, known[file]) for short, known in opinions if file in known),
            neighbors=nearest.get(file, ()),
        )
        for place, picture in zip(places, pictures, strict=True)
    ]
    said = sampled_text([classes[place] for place in places], classes)
    return Gallery(images, len(files), side is None, side or None, said)


def sampled_text(shown: Sequence[object], classes: Sequence[object]) -> str:
    """Which images are shown of a run, by their classes, as `sample_by_class` takes them; "" for all."""
    if len(shown) == len(classes):
        return ""
    some, every, most = len(set(shown)), len(set(classes)), max(Counter(shown).values())
    of = f"{count_text(len(shown))} of {count_text(len(classes))} images are shown"
    first = "the first" if most == 1 else f"the first {most}"
    if every == 1:
        return f"{of}, {first}"
    return f"{of}, {first} of {'every class' if some == every else f'{some} of the {count_text(every)} classes'}"


def _fitting(
    run: Path, files: Sequence[str], classes: Sequence[object], room: Room
) -> tuple[list[int], list[Picture], int | None]:
    """(places in `files`, their pictures, 0 or the longest side of JPEGs; None for the run's own files)."""
    places = sample_by_class(classes, room.images)
    if sum((run / files[place]).stat().st_size for place in places) <= room.size:
        return places, [_own(run / files[place]) for place in places], None
    for most, side, quality in _attempts(min(room.images, len(files)), room.fewest):
        places, pictures, size = sample_by_class(classes, most), [], 0
        for place in places:
            data, height, width = _jpeg(run / files[place], side, quality)
            size += len(data)
            if size > room.size and most > 1:
                break
            pictures.append(Picture(_url(data, "jpeg"), height, width))
        else:
            return places, pictures, side
    raise AssertionError("one image is always shown")


def _attempts(most: int, fewest: int) -> Iterator[tuple[int, int, int]]:
    """(images, longest side, JPEG quality) from what would be best to what weighs least; a side of 0 is any."""
    yield most, 0, 92
    yield most, SIDES[0], 85
    while most > fewest:
        most = max(most * 2 // 3, fewest)
        yield most, SIDES[0], 85
    yield from ((most, side, 80) for side in SIDES[1:])
    while most > 1:
        most //= 2
        yield most, SIDES[-1], 80


def _own(path: Path) -> Picture:
    pixels = read_image(path)
    return Picture(_url(path.read_bytes(), "png" if path.suffix == ".png" else "jpeg"), *pixels.shape[:2])


def _jpeg(path: Path, side: int, quality: int) -> tuple[bytes, int, int]:
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    return jpeg_bytes(_within(pixels, side), quality=quality), height, width


def _within(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if not side or longest <= side:
        return pixels
    return resize_image(pixels, (max(1, height * side // longest), max(1, width * side // longest)))


def _url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _said(opinions: Iterable[Opinion], files: Sequence[str]) -> dict[str, Opinion]:
    shown = set(files)
    return {opinion.image: opinion for opinion in opinions if opinion.image in shown}


def _nearest(
    run: Path, verdicts: Sequence[VerifierView], shown: Sequence[str], most: int
) -> dict[str, tuple[NeighborView, ...]]:
    """By image, the real ones nearest to it of which the run keeps a thumbnail; of as many images as `most` bytes take."""
    beside = [v.verdict.reference for v in verdicts if v.verdict.reference is not None]
    # One verdict has thumbnails; in files of before, not the first one in this order.
    kept = [r for r in beside if any(n.file for entry in r.nearest for n in entry.neighbors)]
    wanted = {entry.image: entry for entry in (kept[0].nearest if kept else ())}
    files = {path.name: path for path in (run / "nearest").glob("*.png") if path.is_file()}
    entries = [wanted[image] for image in shown if image in wanted]
    used = [path for entry in entries for path in _thumbnails(entry, files)]
    exact = sum(path.stat().st_size for path in used) <= most
    result: dict[str, tuple[NeighborView, ...]] = {}
    for entry in entries:
        found = []
        for neighbor in entry.neighbors:
            if (path := files.get(Path(neighbor.file or "").name)) is not None:
                source = _own(path).source if exact else _url(jpeg_bytes(read_image(path), quality=80), "jpeg")
                most -= len(source) * 3 // 4
                found.append(NeighborView(neighbor.name, neighbor.distance, source))
        if most < 0 and not exact:
            break
        result[entry.image] = tuple(found)
    return result


def _thumbnails(entry: Nearest, files: Mapping[str, Path]) -> Iterator[Path]:
    # Only a plain name inside the run: an evaluation from elsewhere must not pull other files into the page.
    for neighbor in entry.neighbors:
        if (path := files.get(Path(neighbor.file or "").name)) is not None:
            yield path
