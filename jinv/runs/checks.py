"""What can be wrong with a run before its first step: mistakes should not cost a synthesis first."""

from collections.abc import Sequence

from jinv.errors import RunConflictError
from jinv.experiment.experiment import Experiment, load_experiment
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.judge.evaluate import check_judges
from jinv.judge.judges import Say, judge_file, silent
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import changes_between
from jinv.record.directory import RunDirectory
from jinv.record.manifest import Manifest
from jinv.weights.load import check_file, class_names_of


def check_run(
    recipe: Recipe, shared: Shared | None = None, vocabulary: Vocabulary | None = None, *, say: Say = silent
) -> Experiment:
    """All that can be wrong with a run before its first step, but for its traces, its directory and its memory.

    With a `Shared` of several runs verifiers come out of it; without one their files are looked at and no network is built.
    `say` is told what was fetched.

    Raises:
      JinvError: something is.
    """
    experiment = load_experiment(recipe, shared=shared, vocabulary=vocabulary)
    names = experiment.vocabulary

    def class_names(verifier: str) -> Sequence[str]:
        if shared is not None:
            return judging_network(shared, verifier, names, say).class_names
        return class_names_of(check_file(judge_file(verifier, say), networks=names.networks))

    check_judges(recipe, experiment.classifier, experiment.labels, class_names)
    return experiment


def judging_network(shared: Shared, name: str, vocabulary: Vocabulary, say: Say = silent) -> Classifier:
    """A verifier that is not in ONNX, read once for all runs; a published one is fetched. Raises as `find_judge`."""
    return shared.network(name if shared.has(name) else judge_file(name, say), vocabulary)


def check_same(run_directory: RunDirectory, manifest: Manifest, experiment: Experiment) -> None:
    """Refuse to go on with a run that was started with another config or other weights.

    Raises:
      RunConflictError: it was; the message names what differs.
    """
    classifier = experiment.classifier
    before, labels = run_directory.config(), list(experiment.labels)
    changed = changes_between(before, experiment.recipe, labels, experiment.size)
    if changed:
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with another config: {'; '.join(changed)}")
    weights = [member.source["source"]["sha256"] for member in experiment.networks.members]
    if [model.sha256 for model in manifest.inverted] != weights:
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with other weights than it was started with")
    if classifier.student and manifest.student_sha256 != classifier.student.source["source"]["sha256"]:
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with another student than it was started with")
