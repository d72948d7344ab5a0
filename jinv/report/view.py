"""A run directory as the pages show it: plain values, tolerant of whatever an unfinished or older run lacks."""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinv.errors import StorageError
from jinv.images.codec import jpeg_bytes, read_image
from jinv.record.directory import RunDirectory
from jinv.report.charts import Series, Span

INLINE_BYTES = 6_000_000
"""Up to this sum the page carries the PNG files themselves, beyond it JPEGs."""


@dataclass(frozen=True)
class RunView:
    """One run; `verdicts` and `images` carry the verifiers' opinions under short names.

    `pictures` is what the images say without any network, None where that was not measured.
    """

    path: Path
    name: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    images: list[dict[str, Any]]
    exact_pixels: bool
    digests: dict[str, str]
    pictures: dict[str, Any] | None = None

    @property
    def terms(self) -> list[str]:
        """The terms' names, in the order in which they first appear."""
        return list(dict.fromkeys(name for line in self.lines for name in line.get("terms", {})))


def read_run(
    run_dir: str | Path, *, inline_bytes: int = INLINE_BYTES, manifest: dict[str, Any] | None = None
) -> RunView:
    """Read what a run directory has; `manifest` instead of the one that is there.

    Raises:
      StorageError: no run directory, or a file that is damaged.
    """
    run = RunDirectory(Path(run_dir))
    manifest = manifest or run.manifest()
    if manifest is None:
        raise StorageError(f"{run_dir}: not a run directory (no manifest.json)")
    try:
        config = run.config() if (run.path / "config.toml").exists() else {}
        lines = [line for line in run.read_lines("metrics.jsonl") if isinstance(line, dict) and "step" in line]
        evaluation_path = run.path / "evaluation.json"
        evaluation = json.loads(evaluation_path.read_text(encoding="utf-8")) if evaluation_path.exists() else {}
        if not isinstance(evaluation, dict) or not isinstance(evaluation.get("verifiers", {}), dict):
            raise ValueError(f"{evaluation_path.name} is not an evaluation")
    except (OSError, ValueError) as error:
        raise StorageError(f"{run_dir}: a file of the run cannot be read: {error}") from error
    verdicts = _verdicts(evaluation.get("verifiers", {}))
    images, exact = _images(run.path, manifest, verdicts, inline_bytes)
    return RunView(
        run.path,
        run.path.resolve().name,
        manifest,
        config,
        lines,
        verdicts,
        images,
        exact,
        _digests(run.path),
        evaluation.get("pictures"),
    )


def curve(view: RunView, name: str, pick: Any, color: int | None = 0) -> Series:
    """`pick(line)` over the steps; where several batches logged a step, their mean within the band they span."""
    steps: dict[float, list[float]] = {}
    for line in view.lines:
        value = pick(line)
        if value is not None:
            steps.setdefault(line["step"], []).append(float(value))
    xs = sorted(steps)
    mean = [sum(steps[x]) / len(steps[x]) for x in xs]
    if all(len(steps[x]) == 1 for x in xs):
        return Series(name, xs, mean, color=color)
    return Series(name, xs, mean, [min(steps[x]) for x in xs], [max(steps[x]) for x in xs], color)


def stage_spans(view: RunView) -> list[Span]:
    """Where each stage begins and ends, in steps counted over all stages."""
    spans, start = [], 0
    for stage in view.manifest.get("stages", []):
        if stage.get("steps"):
            spans.append(Span(start, start + stage["steps"], f"{size_text(stage['size'])} px"))
            start += stage["steps"]
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


def date_text(value: Any) -> str:
    """An ISO time as a date; what is not one as it is."""
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value or "")
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def _digests(run: Path) -> dict[str, str]:
    """sha256 of the run's own files; the manifest and the report themselves are still to be written."""
    files = (p for p in run.iterdir() if p.is_file() and not p.name.startswith("."))
    kept = sorted(p for p in files if p.name not in ("manifest.json", "report.html"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def _verdicts(verifiers: dict[str, Any]) -> list[dict[str, Any]]:
    short = short_names(list(verifiers))
    return [{"name": name, "short": short[name], **verdict} for name, verdict in verifiers.items()]


def _nearest(run: Path, verdicts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By image, the real ones nearest to it of which the run keeps a thumbnail."""
    result: dict[str, list[dict[str, Any]]] = {}
    for entry in next((v["reference"]["nearest"] for v in verdicts if "reference" in v), []):
        for neighbor in entry["neighbors"]:
            # Only a plain name inside the run: an evaluation from elsewhere must not pull other files into the page.
            path = run / "nearest" / Path(neighbor.get("file", "")).name
            if path.is_file():
                source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
                result.setdefault(entry["image"], []).append({**neighbor, "source": source})
    return result


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them begin with: efficientnet_lite1, efficientnet_lite2 -> lite1, lite2."""
    words = [name.split("_") for name in names]
    common = 0
    while len(words) > 1 and all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
        common += 1
    return {name: "_".join(w[common:]) for name, w in zip(names, words, strict=True)}


def _images(
    run: Path, manifest: dict[str, Any], verdicts: list[dict[str, Any]], inline_bytes: int
) -> tuple[list[dict[str, Any]], bool]:
    names, labels = manifest.get("class_names", []), manifest.get("labels", [])
    opinions = [{image["image"]: image for image in v.get("per_image", [])} for v in verdicts]
    nearest = _nearest(run, verdicts)
    paths = sorted((run / "images").glob("*.png"))
    exact = sum(path.stat().st_size for path in paths) <= inline_bytes
    images = []
    for position, path in enumerate(paths):
        number = path.name[:6]
        index = int(number) if number.isdigit() else position
        pixels = read_image(path)
        data, kind = (path.read_bytes(), "png") if exact else (jpeg_bytes(pixels), "jpeg")
        file = f"images/{path.name}"
        judged = zip(verdicts, opinions, strict=True)
        found = [{"verifier": v["short"], **known[file]} for v, known in judged if file in known]
        right = sum(bool(opinion["correct"]) for opinion in found)
        images.append(
            {
                "index": index,
                "file": file,
                "source": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
                "height": pixels.shape[0],
                "width": pixels.shape[1],
                "small": max(pixels.shape[:2]) <= 96,
                "class_name": names[index] if index < len(names) else "",
                "label": labels[index] if index < len(labels) else None,
                "opinions": found,
                "neighbors": nearest.get(file, []),
                "judged": "" if not found else "right" if right == len(found) else "wrong" if not right else "divided",
            }
        )
    return images, exact
