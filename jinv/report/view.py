"""A run directory as the pages show it: plain values, tolerant of whatever an unfinished or older run lacks."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinv.errors import StorageError, legible
from jinv.images.animation import first_frame
from jinv.images.folder import MANIFEST
from jinv.record.config import CONFIG
from jinv.record.directory import ASIDE, RunDirectory
from jinv.record.evaluation import Control, Evaluation, Pictures, in_order
from jinv.record.manifest import Manifest
from jinv.record.pictures import picture_files
from jinv.record.sealed import digest_of
from jinv.record.timing import iter_times
from jinv.record.workers import WORKERS
from jinv.report.charts import Span
from jinv.report.curves import Curves
from jinv.report.gallery import Gallery, Room, make_gallery
from jinv.report.text import PictureRow, headline, picture_rows
from jinv.report.totals import Totals, VerifierView, totals_of

ROOM = Room()
"""Of the page of one run."""


@dataclass(frozen=True)
class FramesView:
    """The animation of the optimisation, and its first frame for who wants nothing to move, as data URLs; their size."""

    source: str
    still: str
    width: int
    height: int


@dataclass(frozen=True)
class RunView:
    """One run; `verdicts` begin with the strangers'.

    Their opinions of each image are in `gallery`, of the images that are shown, and in `totals`, of all. `pictures` is what
    the images say without any network, `photographs` what real ones of the same classes do; None where that was not measured.
    """

    path: Path
    name: str
    manifest: Manifest
    config: dict[str, Any]
    curves: Curves
    verdicts: list[VerifierView]
    gallery: Gallery
    digests: dict[str, str]
    frames: FramesView | None = None
    totals: Totals | None = None
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


def read_run(run_dir: str | Path, *, room: Room = ROOM, manifest: Manifest | None = None) -> RunView:
    """Read what a run directory has, with as many images as there is room for; `manifest` instead of the one that is there.

    Raises:
      StorageError: no run directory, or it cannot be read. UnsafeInputError: a file that is damaged.
    """
    try:
        return _view(RunDirectory(Path(run_dir)), room, manifest)
    except OSError as error:
        raise StorageError(f"{error.filename or run_dir}: cannot be read: {error.strerror or error}") from error


def _view(run: RunDirectory, room: Room, manifest: Manifest | None) -> RunView:
    manifest = manifest or run.known_manifest()
    evaluation = run.evaluation() or Evaluation()
    judged = in_order(evaluation.verifiers)
    short = short_names(list(judged))
    verdicts = [VerifierView(name, short[name], verdict) for name, verdict in judged.items()]
    return RunView(
        path=run.path,
        name=legible(run.path.resolve().name),
        manifest=manifest,
        config=run.config() if (run.path / CONFIG).exists() else {},
        curves=_curves(run),
        verdicts=verdicts,
        gallery=make_gallery(run.path, picture_files(run.path), manifest, verdicts, room),
        digests=_digests(run.path),
        frames=_frames(run.path),
        totals=totals_of(manifest, verdicts),
        pictures=evaluation.pictures,
        photographs=evaluation.photographs,
    )


def _curves(run: RunDirectory) -> Curves:
    curves = Curves(run.iter_metrics())
    for time in iter_times(run.path, run.path / WORKERS):
        curves.add_time(time)
    return curves


def _frames(run: Path) -> FramesView | None:
    """None where there is no animation, or one that cannot be read: a page is made of what is there."""
    try:
        data = (run / "frames.webp").read_bytes()
        url = "data:image/webp;base64," + base64.b64encode(data).decode()
        return FramesView(url, *first_frame(data))
    except (OSError, ValueError, SyntaxError):
        return None


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
    kept = sorted(p for p in files if p.name not in (MANIFEST, "report.html", *ASIDE))
    return {path.name: digest_of(path) for path in kept}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them begin with: efficientnet_lite1, efficientnet_lite2 -> lite1, lite2."""
    words = [name.split("_") for name in names]
    common = 0
    while len(words) > 1 and all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
        common += 1
    return {name: "_".join(w[common:]) for name, w in zip(names, words, strict=True)}
