"""What can be wrong with a run before its first step: mistakes should not cost a synthesis first."""

from collections.abc import Callable, Container, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinv.errors import RunConflictError, UnsafeInputError, UsageError
from jinv.experiment.experiment import Experiment, load_experiment
from jinv.experiment.metrics import bind_metrics, try_metric
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.images.folder import MANIFEST
from jinv.judge.evaluate import check_judges
from jinv.judge.judges import Say, judge_file, silent
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import asides, changes_between
from jinv.record.directory import RunDirectory
from jinv.record.manifest import Manifest, PluginUse
from jinv.record.unfinished import INSTEAD
from jinv.runs.records import new_manifest, start_digest
from jinv.runs.sinks import check_sinks
from jinv.weights.load import check_file, class_names_of

START = ("image.init", "image.init_reference")
DRAWN = ("noise", "uniform", "class_gaussian")
METRICS = "metrics"
"""The kind of what plugins bring that decides no image."""

WEIGHTS = ("sha256", "architecture", "mean", "std")

UNKNOWN = (".architecture", ".mean", ".std")
"""What early versions did not write."""


def check_run(
    recipe: Recipe,
    shared: Shared | None = None,
    vocabulary: Vocabulary | None = None,
    *,
    say: Say = silent,
    alone: bool = True,
) -> Experiment:
    """All that can be wrong with a run before its first step, but for its traces, its directory and its memory.

    With a `Shared` of several runs verifiers come out of it; without one their files are looked at and no network is built.
    `say` is told what was fetched. The devices of a sweep's setting, which is not `alone`, are its part's.

    Raises:
      JinvError: something is.
    """
    check_sinks(recipe.log)
    experiment = load_experiment(recipe, shared=shared, vocabulary=vocabulary, alone=alone)
    names = experiment.vocabulary

    def class_names(verifier: str) -> Sequence[str]:
        if shared is not None:
            return judging_network(shared, verifier, names, say).class_names
        return class_names_of(check_file(judge_file(verifier, say), networks=names.networks))

    check_judges(recipe, experiment.classifier, experiment.labels, class_names)
    for metric in bind_metrics(recipe.metric, names).values():
        if experiment.shared.is_new((metric.function, repr(metric.hyperparameters), experiment.size)):
            try_metric(metric, *experiment.size)
    return experiment


def judging_network(shared: Shared, name: str, vocabulary: Vocabulary, say: Say = silent) -> Classifier:
    """A verifier that is not in ONNX, read once for all runs; a published one is fetched. Raises as `find_judge`."""
    return shared.network(name if shared.has(name) else judge_file(name, say), vocabulary)


def check_same(
    run_directory: RunDirectory, manifest: Manifest, experiment: Experiment, *, everything: bool = False
) -> None:
    """Refuse to go on with a run that was started with another config or other weights, as far as they decide its images.

    Networks and start images are compared by their digests, wherever their files are now; with `everything` what is
    declared `Aside` is compared too.

    Raises:
      RunConflictError: it was; the message names what differs, then and now. UnsafeInputError: its files are damaged.
    """
    start = start_digest(experiment)
    moved = START if start is not None and start == manifest.start_sha256 else ()
    ignored = {name for name in asides() if name not in START or name in moved}
    labels = list(experiment.labels)
    changed = changes_between(
        run_directory.config(), experiment.recipe, labels, experiment.size, ignored=() if everything else ignored
    )
    drawn = experiment.recipe.image.init in DRAWN  # which another device may round otherwise
    if not changed and not drawn and manifest.start_sha256 not in (None, start):
        changed = [_change("what image.init leads to", manifest.start_sha256, start)]
    if changed:
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with another config: {'; '.join(changed)}")
    now = new_manifest(experiment)
    check_made_with(run_directory.path, manifest, now, everything=everything)
    for key in ("labels", "class_names", "image_size"):
        if getattr(manifest, key) != getattr(now, key):
            raise UnsafeInputError(
                f"{run_directory.path / MANIFEST}: {key}: {getattr(manifest, key)!r:.60} is not what the config "
                f"comes to, {getattr(now, key)!r:.60}; {INSTEAD}"
            )


def check_made_with(
    directory: Path, manifest: Manifest, now: Manifest, doing: str = "resumed", *, everything: bool = False
) -> None:
    """Refuse other networks, plugins or recorded statistics than a run was started with; `doing`: what is refused, in a word.

    Raises:
      RunConflictError: they are others; the message names what differs, then and now.
    """

    def refuse(what: str, changed: Sequence[str]) -> None:
        if changed:
            raise RunConflictError(
                f"{directory}: cannot be {doing} with {what} than it was started with: {'; '.join(changed)}"
            )

    for what, key in (("other weights", "model"), ("another student", "student_sha256")):
        refuse(what, _differing(key, _compared(manifest, key), _compared(now, key)))
    plugins = zip_longest(*(_plugins(of, everything=everything) for of in (manifest, now)))
    refuse("other plugins", [_change("plugin", *pair) for pair in plugins if pair[0] != pair[1]])
    if manifest.statistics_sha256 != now.statistics_sha256:
        change = _change("statistics_sha256", manifest.statistics_sha256, now.statistics_sha256)
        refuse("other recorded statistics", [change])


def check_plugins(
    manifest: Manifest | None, metrics: Container[str], vocabulary: Vocabulary | None, directory: Path
) -> None:
    """Is there, for a run that is to go on, what it took from plugins? Whether it is the same says `check_same`.

    Args:
      metrics: those that are asked for now; the manifest may name others.

    Raises:
      UsageError: something is not; the message names the plugin.
    """
    _check_here(manifest, vocabulary, directory, lambda kind, name: kind != METRICS or name in metrics)


def check_metrics(
    manifest: Manifest | None, metrics: Container[str], vocabulary: Vocabulary | None, directory: Path
) -> None:
    """As `check_plugins` for what needs of a run's plugins the metrics alone."""
    _check_here(manifest, vocabulary, directory, lambda kind, name: kind == METRICS and name in metrics)


def _check_here(
    manifest: Manifest | None,
    vocabulary: Vocabulary | None,
    directory: Path,
    needed: Callable[[str, str], bool],
) -> None:
    vocabulary = vocabulary or standard_vocabulary()
    for plugin in (manifest.plugins if manifest else None) or ():
        for kind, _, name in (word.partition(".") for word in plugin.names):
            if needed(kind, name) and name not in getattr(vocabulary, kind, ()):
                raise UsageError(
                    f"{directory}: was made with the plugin {plugin}, which is not here; name it with --plugin"
                )


def _plugins(manifest: Manifest, *, everything: bool) -> list[str]:
    """What a run took from plugins, each with its whole digest; what they were called is nothing to it, and metrics are
    nothing to its images."""
    used = [(plugin, plugin.names if everything else _deciding(plugin)) for plugin in manifest.plugins or ()]
    return sorted(plugin.model_copy(update={"names": names}).what for plugin, names in used if names)


def _deciding(plugin: PluginUse) -> tuple[str, ...]:
    return tuple(name for name in plugin.names if name.partition(".")[0] != METRICS)


def _compared(manifest: Manifest, key: str) -> list[dict[str, Any]]:
    """What of a manifest says which networks there were, a table of each."""
    if key == "student_sha256":
        return [{"": manifest.student_sha256}]
    return [{f".{name}": getattr(model, name) for name in WEIGHTS} for model in manifest.inverted]


def _differing(key: str, then: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    if len(then) != len(now):
        return [_change(f"{key}s", len(then), len(now))]
    return [
        _change(key + name, before[name], after[name])
        for before, after in zip(then, now, strict=True)
        for name in before
        if before[name] != after[name] and (before[name] or name not in UNKNOWN)
    ]


def _change(key: str, then: Any, now: Any) -> str:
    shown = ("not set" if value is None else f"{value!r:.100}" for value in (then, now))
    return "{}: {} then, {} now".format(key, *shown)
