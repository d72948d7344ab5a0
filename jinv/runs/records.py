"""What a run says of itself: a line per logged step, where it was computed, and the manifest of how its images came about."""

import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jinv.core.inspection import Gradients
from jinv.core.loop import Snapshot
from jinv.core.processor import compiler_options
from jinv.core.step import MemberMetrics
from jinv.errors import legible
from jinv.experiment.experiment import Experiment
from jinv.experiment.plugins import used_plugins
from jinv.models.classifier import Classifier
from jinv.models.features import norm_layers
from jinv.recipe.recipe import Recipe
from jinv.record.manifest import InvertedModel, Manifest, Member, StageSteps
from jinv.record.metrics import MemberValue, MetricsLine, StatisticsDistance, TermValue
from jinv.record.units import Environment

GIT_S = 10.0
"""So long is waited for git at most."""


def metrics_line(snapshot: Snapshot, recipe: Recipe, batch: int) -> MetricsLine:
    """What `metrics.jsonl` says of a snapshot."""
    gradients, statistics = snapshot.seen
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
        gradient_norms=None if gradients is None else {name: float(norm) for name, norm in gradients.norms.items()},
        gradient_cosines=None if gradients is None else _cosines(gradients),
        statistics=None
        if statistics is None
        else tuple(
            StatisticsDistance(*(tuple(np.asarray(part, np.float64).tolist()) for part in layers))
            for layers in statistics
        ),
        members=_members(snapshot.metrics.members),
    )


def _cosines(gradients: Gradients) -> dict[str, dict[str, float | None]]:
    return {
        first: {second: float(value) if np.isfinite(value) else None for second, value in row.items()}
        for first, row in gradients.cosines.items()
    }


def _members(metrics: MemberMetrics | None) -> tuple[MemberValue | None, ...] | None:
    """Each member's values; an accuracy, which is a share, is NaN of those alone that were not asked."""
    if metrics is None:
        return None
    terms = {name: np.asarray(values).tolist() for name, values in metrics.terms.items()}
    return tuple(
        None if np.isnan(accuracy) else MemberValue({name: values[i] for name, values in terms.items()}, accuracy)
        for i, accuracy in enumerate(np.asarray(metrics.accuracy).tolist())
    )


@functools.cache
def environment() -> Environment:
    """What bits depend on here, besides config and weights."""
    own = [f"--{name}={str(value).lower()}" for name, value in (compiler_options() or {}).items()]
    return Environment(
        jax=version("jax"),
        jaxlib=version("jaxlib"),
        device=_device(),
        processor=_processor(),
        flags=" ".join([*os.environ.get("XLA_FLAGS", "").split(), *own]),
    )


def new_manifest(experiment: Experiment) -> Manifest:
    """The manifest of a run that starts now."""
    recipe, classifier = experiment.recipe, experiment.classifier
    named = zip(recipe.models, experiment.networks.members, strict=True)
    members = [_inverted(name, member) for name, member in named]
    return Manifest(
        jinv=version("jinv"),
        model=InvertedModel(**members[0]),
        committee=tuple(Member(**m, share=s) for m, s in zip(members, recipe.shares, strict=True))
        if members[1:]
        else None,
        student_sha256=classifier.student.source["source"]["sha256"] if classifier.student else None,
        statistics_sha256=statistics_digests(experiment),
        start_sha256=start_digest(experiment),
        plugins=used_plugins(recipe, experiment.vocabulary) or None,
        seed=recipe.seed,
        labels=experiment.labels,
        class_names=tuple(experiment.class_names),
        image_size=experiment.size,
        stages=tuple(StageSteps(size=stage.size, steps=stage.steps) for stage in recipe.stages),
        versions={"python": platform.python_version()}
        | {package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")},
        layers=tuple(map(norm_layers, experiment.networks.members)) if recipe.log_statistics else None,
        device=_device(),
        command=command_line(),
        host=platform.node() or None,
        commit=own_commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def going_on(manifest: Manifest, experiment: Experiment) -> Manifest:
    """The manifest of a run that goes on as `experiment`: if it is not finished, its metrics may be others than at its start."""
    plugins = used_plugins(experiment.recipe, experiment.vocabulary)
    then, now = (sorted(plugin.what for plugin in some) for some in (manifest.plugins or (), plugins))
    if manifest.finished or then == now:
        return manifest
    return manifest.model_copy(update={"plugins": plugins or None})


def command_line() -> str:
    """The command line, whichever way jinv was called."""
    program = Path(sys.argv[0])
    return legible(shlex.join(["jinv" if program.stem in ("jinv", "cli") else program.name, *sys.argv[1:]]))


@functools.cache
def own_commit() -> str | None:
    """The commit of the checkout that jinv runs from, with "-dirty" where files of it were changed; None of an installed one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def statistics_digests(experiment: Experiment) -> tuple[str | None, ...] | None:
    """sha256 of each network's recorded statistics, None where no network has any."""
    digests = tuple(member.taps.sha256 if member.taps else None for member in experiment.networks.members)
    return digests if any(digests) else None


def start_digest(experiment: Experiment) -> str | None:
    """sha256 of the images that an experiment starts from, None where it draws them itself."""
    if experiment.init is None:
        return None
    init = np.ascontiguousarray(experiment.init)
    return hashlib.sha256(repr((init.dtype.str, init.shape)).encode() + init.tobytes()).hexdigest()


def _inverted(name: str, classifier: Classifier) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": classifier.architecture,
        "family": classifier.family,
        "training": classifier.training,
        "sha256": classifier.source["source"]["sha256"],
        "mean": classifier.mean,
        "std": classifier.std,
    }


def _processor() -> str:
    """The processor, and the widest vectors that XLA's kernels for it are made of."""
    try:
        said = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(said))}
    flags = fields.get("flags", fields.get("Features", "")).split()
    widest = next((name for name in ("avx512f", "avx2", "avx", "sve", "asimd") if name in flags), "")
    return f"{fields.get('model name', platform.machine())} {widest}".strip()


def _device() -> str:
    device = jax.devices()[0]
    kind = platform.machine() if device.platform == "cpu" else device.device_kind
    return f"{device.platform} {kind}" + (f" x {jax.device_count()}" if jax.device_count() > 1 else "")
