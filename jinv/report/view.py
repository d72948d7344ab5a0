"""A run directory as the pages show it: plain values, tolerant of whatever an unfinished or older run lacks."""

import base64
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinv.errors import StorageError, legible
from jinv.images.codec import jpeg_bytes, read_image
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Control, Evaluation, Opinion, Pictures, Verdict, in_order
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine
from jinv.record.pictures import picture_files
from jinv.report.charts import Series, Span
from jinv.report.text import PictureRow, headline, picture_rows

INLINE_BYTES = 6_000_000
"""Up to this sum the page carries the PNG files themselves, beyond it JPEGs."""


@dataclass(frozen=True)
class VerifierView:
    """A verifier's verdict under its name, and under the short one that pages use."""

    name: str
    short: str
    verdict: Verdict


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
    """One of the run's images; `source` is a data URL, `label` None where the manifest does not know it."""

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


@dataclass(frozen=True)
class RunView:
    """One run; `verdicts` begin with the strangers'.

    `pictures` is what the images say without any network, `photographs` what real ones of the same classes do; None where
    that was not measured.
    """

    path: Path
    name: str
    manifest: Manifest
    config: dict[str, Any]
    lines: list[MetricsLine]
    verdicts: list[VerifierView]
    images: list[ImageView]
    exact_pixels: bool
    digests: dict[str, str]
    pictures: Pictures | None = None
    photographs: Control | None = None

    @property
    def headline(self) -> str:
        """What has to be said before the verdicts, "" where nothing has."""
        return headline(v.verdict for v in self.verdicts)

    @property
    def picture_rows(self) -> list[PictureRow]:
        """What the images say without any network, in words."""
        real = self.photographs.pictures if self.photographs else None
        return picture_rows(self.pictures, real) if self.pictures else []

    @property
    def terms(self) -> list[str]:
        """The terms' names, in the order in which they first appear."""
        return list(dict.fromkeys(name for line in self.lines for name in line.terms))


def read_run(run_dir: str | Path, *, inline_bytes: int = INLINE_BYTES, manifest: Manifest | None = None) -> RunView:
    """Read what a run directory has; `manifest` instead of the one that is there.

    Raises:
      StorageError: no run directory. UnsafeInputError: a file that is damaged.
    """
    run = RunDirectory(Path(run_dir))
    manifest = manifest or run.manifest()
    if manifest is None:
        raise StorageError(f"{run_dir}: not a run directory (no manifest.json)")
    evaluation = run.evaluation() or Evaluation()
    judged = in_order(evaluation.verifiers)
    short = short_names(list(judged))
    verdicts = [VerifierView(name, short[name], verdict) for name, verdict in judged.items()]
    images, exact = _images(run.path, manifest, verdicts, inline_bytes)
    return RunView(
        path=run.path,
        name=legible(run.path.resolve().name),
        manifest=manifest,
        config=run.config() if (run.path / "config.toml").exists() else {},
        lines=run.metrics(),
        verdicts=verdicts,
        images=images,
        exact_pixels=exact,
        digests=_digests(run.path),
        pictures=evaluation.pictures,
        photographs=evaluation.photographs,
    )


def curve(view: RunView, name: str, pick: Callable[[MetricsLine], float | None], color: int | None = 0) -> Series:
    """`pick(line)` over the steps; where several batches logged a step, their mean within the band they span."""
    steps: dict[float, list[float]] = {}
    for line in view.lines:
        value = pick(line)
        if value is not None:
            steps.setdefault(line.step, []).append(value)
    xs = sorted(steps)
    mean = [sum(steps[x]) / len(steps[x]) for x in xs]
    if all(len(steps[x]) == 1 for x in xs):
        return Series(name, xs, mean, color=color)
    return Series(name, xs, mean, [min(steps[x]) for x in xs], [max(steps[x]) for x in xs], color)


def term_curve(view: RunView, term: str, *, color: int | None, name: str = "", weighted: bool = False) -> Series:
    """A term's value over the steps, under its own name unless `name` is given."""

    def pick(line: MetricsLine) -> float | None:
        entry = line.terms.get(term)
        return None if entry is None else entry.weighted if weighted else entry.value

    return curve(view, name or term, pick, color)


def stage_spans(view: RunView) -> list[Span]:
    """Where each stage begins and ends, in steps counted over all stages."""
    spans, start = [], 0
    for stage in view.manifest.stages:
        if stage.steps:
            spans.append(Span(start, start + stage.steps, f"{size_text(stage.size)} px"))
            start += stage.steps
    return spans


def size_text(size: Any) -> str:
    """224 for a square, else height x width."""
    if isinstance(size, Sequence) and len(size) == 2:
        return str(size[0]) if size[0] == size[1] else f"{size[0]}\N{MULTIPLICATION SIGN}{size[1]}"
    return str(size)


def duration_text(seconds: float | None) -> str:
    """A duration as a person says it, "" where it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def date_text(value: str | None) -> str:
    """An ISO time as a date; what is not one as it is."""
    try:
        when = datetime.fromisoformat(value or "")
    except ValueError:
        return value or ""
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def _digests(run: Path) -> dict[str, str]:
    """sha256 of the run's own files; the manifest and the report themselves are still to be written."""
    files = (p for p in run.iterdir() if p.is_file() and not p.name.startswith("."))
    kept = sorted(p for p in files if p.name not in ("manifest.json", "report.html"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def _nearest(run: Path, verdicts: Sequence[VerifierView]) -> dict[str, tuple[NeighborView, ...]]:
    """By image, the real ones nearest to it of which the run keeps a thumbnail."""
    result: dict[str, tuple[NeighborView, ...]] = {}
    beside = [v.verdict.reference for v in verdicts if v.verdict.reference is not None]
    # One verdict has thumbnails; in files of before, not the first one in this order.
    kept = [r for r in beside if any(n.file for entry in r.nearest for n in entry.neighbors)]
    kept_files = {path.name for path in (run / "nearest").glob("*.png") if path.is_file()}
    for entry in kept[0].nearest if kept else ():
        found = []
        for neighbor in entry.neighbors:
            # Only a plain name inside the run: an evaluation from elsewhere must not pull other files into the page.
            path = run / "nearest" / Path(neighbor.file or "").name
            if path.name in kept_files:
                source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
                found.append(NeighborView(neighbor.name, neighbor.distance, source))
        result[entry.image] = tuple(found)
    return result


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them begin with: efficientnet_lite1, efficientnet_lite2 -> lite1, lite2."""
    words = [name.split("_") for name in names]
    common = 0
    while len(words) > 1 and all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
        common += 1
    return {name: "_".join(w[common:]) for name, w in zip(names, words, strict=True)}


def _images(
    run: Path, manifest: Manifest, verdicts: Sequence[VerifierView], inline_bytes: int
) -> tuple[list[ImageView], bool]:
    """The images, and whether the page carries their exact pixels."""
    names, labels = manifest.class_names, manifest.labels
    opinions = [(v.short, {opinion.image: opinion for opinion in v.verdict.per_image}) for v in verdicts]
    nearest = _nearest(run, verdicts)
    files = picture_files(run)
    exact = sum((run / file).stat().st_size for file in files.values()) <= inline_bytes
    images = []
    for index, file in files.items():
        path = run / file
        pixels = read_image(path)
        own = "png" if file.endswith(".png") else "jpeg"
        data, kind = (path.read_bytes(), own) if exact else (jpeg_bytes(pixels), "jpeg")
        images.append(
            ImageView(
                index=index,
                file=file,
                source=f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
                height=pixels.shape[0],
                width=pixels.shape[1],
                class_name=names[index] if index < len(names) else "",
                label=labels[index] if index < len(labels) else None,
                opinions=tuple(OpinionView(short, known[file]) for short, known in opinions if file in known),
                neighbors=nearest.get(file, ()),
            )
        )
    return images, exact
