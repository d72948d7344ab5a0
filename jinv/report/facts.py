"""The facts that head a page, each empty where the run does not know it."""

from dataclasses import dataclass
from pathlib import Path

from jinv.report.charts import format_number
from jinv.report.text import OWN, part_text
from jinv.report.view import RunView, date_text, duration_text, size_text


@dataclass(frozen=True)
class RunFacts:
    """A run in a few words.

    stages: "100 steps at 128 px, then 50 at 224 px". final: the mean total of the batches' last logged steps.
    plugins: (file and what was taken from it, sha256). origin: as which command, where and from which commit of jinv the run
    was begun, as far as it is known. own_accuracy: what the inverted network recognised there, None where its verdict on
    the PNG files says it better.
    """

    model: str
    architecture: str | None
    count: int
    size: str | None
    steps: int
    stages: str
    duration: str
    meta: tuple[str, ...]
    finished: bool
    weights: str | None
    plugins: tuple[tuple[str, str], ...]
    versions: dict[str, str]
    origin: tuple[tuple[str, str], ...]
    own_accuracy: float | None
    final: str | None


def run_facts(view: RunView) -> RunFacts:
    """The facts of a run."""
    manifest = view.manifest
    stages = [stage for stage in manifest.stages if stage.steps]
    final = view.curves.final
    duration = duration_text(manifest.wall_seconds)
    return RunFacts(
        model=" + ".join(Path(model.name or "unknown model").stem for model in manifest.inverted),
        architecture=" + ".join(m.architecture for m in manifest.inverted if m.architecture) or None,
        count=len(manifest.labels) or view.gallery.total,
        size=size_text(manifest.image_size) if manifest.image_size else None,
        steps=sum(stage.steps for stage in stages),
        stages=", then ".join(
            f"{stage.steps}{'' if i else ' step' if stage.steps == 1 else ' steps'} at {size_text(stage.size)} px"
            for i, stage in enumerate(stages)
        ),
        duration=duration,
        meta=(
            date_text(manifest.finished or manifest.started),
            duration,
            manifest.device or "",
            "" if manifest.seed is None else f"seed {manifest.seed}",
        ),
        finished=bool(manifest.finished),
        weights=", ".join(model.sha256 for model in manifest.inverted if model.sha256) or None,
        plugins=tuple((f"{p.plugin}: {', '.join(p.names)}", p.sha256) for p in manifest.plugins or ()),
        versions={"jinv": manifest.jinv or "unknown", **manifest.versions},
        origin=tuple((name, text) for name in ("command", "host", "commit") if (text := getattr(manifest, name))),
        own_accuracy=view.curves.own_accuracy if all(part_text(v.verdict) != OWN for v in view.verdicts) else None,
        final=None if final is None else format_number(final),
    )
