"""What a run leaves in its directory: a line per logged step, the images, and the manifest that says how they came about."""

import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import jax
import numpy as np

from jinv.core.loop import Snapshot
from jinv.experiment.experiment import Experiment
from jinv.images.codec import grid_png, png_bytes
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.record.directory import RunDirectory
from jinv.record.manifest import InvertedModel, Manifest, StageSteps
from jinv.record.metrics import MetricsLine, TermValue


def metrics_line(snapshot: Snapshot, recipe: Recipe, batch: int) -> MetricsLine:
    """What `metrics.jsonl` says of a snapshot."""
    norms = snapshot.gradient_norms
    return MetricsLine(
        batch=batch,
        step=snapshot.step,
        stage=snapshot.stage,
        stage_step=snapshot.stage_step,
        size=recipe.stages[snapshot.stage].size,
        learning_rate=float(snapshot.learning_rate),
        total=float(snapshot.metrics.total),
        accuracy=float(snapshot.metrics.accuracy),
        terms={
            name: TermValue(float(value), float(weighted)) for name, (value, weighted) in snapshot.metrics.terms.items()
        },
        gradient_norms=None if norms is None else {name: float(norm) for name, norm in norms.items()},
    )


def record_images(
    run_directory: RunDirectory, classifier: Classifier, images: np.ndarray, names: Sequence[str]
) -> None:
    """Write `images/*.png`, `images.npy` and `grid.png`."""
    pixels = np.asarray(classifier.to_uint8(images))
    for index, name in enumerate(names):
        run_directory.write_image(f"images/{index:06d}_{_slug(name)}.png", png_bytes(pixels[index]))
    run_directory.write_array("images.npy", images.astype(np.float32))
    run_directory.write_image("grid.png", grid_png(pixels))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "class"


def new_manifest(experiment: Experiment) -> Manifest:
    """The manifest of a run that starts now."""
    recipe, classifier = experiment.recipe, experiment.classifier
    return Manifest(
        jinv=version("jinv"),
        model=InvertedModel(
            name=recipe.model,
            architecture=classifier.architecture,
            family=classifier.family,
            training=classifier.training,
            sha256=classifier.source["source"]["sha256"],
            mean=classifier.mean,
            std=classifier.std,
        ),
        student_sha256=classifier.student.source["source"]["sha256"] if classifier.student else None,
        seed=recipe.seed,
        labels=experiment.labels,
        class_names=tuple(experiment.class_names),
        image_size=experiment.size,
        stages=tuple(StageSteps(size=stage.size, steps=stage.steps) for stage in recipe.stages),
        versions={"python": platform.python_version()}
        | {package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")},
        device=_device(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _device() -> str:
    device = jax.devices()[0]
    kind = platform.machine() if device.platform == "cpu" else device.device_kind
    return f"{device.platform} {kind}" + (f" x {jax.device_count()}" if jax.device_count() > 1 else "")
