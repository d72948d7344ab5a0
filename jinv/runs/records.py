"""What a run leaves in its directory: a line per logged step, the images, and the manifest that says how they came about."""

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

import jinv
from jinv.core.loop import Snapshot
from jinv.experiment.experiment import Experiment
from jinv.images.codec import grid_png, png_bytes
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.record.directory import SCHEMA, RunDirectory


def metrics_line(snapshot: Snapshot, recipe: Recipe, batch: int) -> dict[str, Any]:
    """A line of `metrics.jsonl`."""
    terms = {
        name: {"value": float(value), "weighted": float(weighted)}
        for name, (value, weighted) in snapshot.metrics.terms.items()
    }
    line = {
        "batch": batch,
        "step": snapshot.step,
        "stage": snapshot.stage,
        "stage_step": snapshot.stage_step,
        "size": list(recipe.stages[snapshot.stage].size),
        "learning_rate": snapshot.learning_rate,
        "total": float(snapshot.metrics.total),
        "accuracy": float(snapshot.metrics.accuracy),
        "terms": terms,
    }
    if snapshot.gradient_norms is not None:
        line["gradient_norms"] = {name: float(norm) for name, norm in snapshot.gradient_norms.items()}
    return line


def record_images(run_directory: RunDirectory, classifier: Classifier, images: np.ndarray, names: list[str]) -> None:
    """Write `images/*.png`, `images.npy` and `grid.png`."""
    pixels = np.asarray(classifier.to_uint8(images))
    for index, name in enumerate(names):
        run_directory.write_image(f"images/{index:06d}_{_slug(name)}.png", png_bytes(pixels[index]))
    run_directory.write_array("images.npy", images.astype(np.float32))
    run_directory.write_image("grid.png", grid_png(pixels))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "class"


def new_manifest(experiment: Experiment) -> dict[str, Any]:
    """The manifest of a run that starts now."""
    recipe, classifier = experiment.recipe, experiment.classifier
    student = {"student_sha256": classifier.student.source["source"]["sha256"]} if classifier.student else {}
    return {
        "schema": SCHEMA,
        "jinv": jinv.__version__,
        "model": {
            "name": recipe.model,
            "architecture": classifier.architecture,
            "sha256": classifier.source["source"]["sha256"],
            "mean": list(classifier.mean),
            "std": list(classifier.std),
        },
        **student,
        "seed": recipe.seed,
        "labels": list(experiment.labels),
        "class_names": experiment.class_names,
        "image_size": list(experiment.size),
        "stages": [{"size": list(s.size), "steps": s.steps} for s in recipe.stages],
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "device": _device(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": None,
    }


def _device() -> str:
    device = jax.devices()[0]
    kind = platform.machine() if device.platform == "cpu" else device.device_kind
    return f"{device.platform} {kind}" + (f" x {jax.device_count()}" if jax.device_count() > 1 else "")
