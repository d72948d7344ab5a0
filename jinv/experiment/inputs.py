"""What a run needs before its first step, loaded and checked: mistakes should not cost a synthesis first."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jinv.errors import UsageError
from jinv.experiment import bind
from jinv.experiment.start_images import load_init, measured_spectrum
from jinv.judge.evaluate import check_judges
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.weights.labels import resolve_labels
from jinv.weights.load import load

Network = Callable[[str], Classifier]


class Inputs(NamedTuple):
    """A recipe's network (with its student), class ids, image size, start images (None for noise)."""

    classifier: Classifier
    labels: list[int]
    size: tuple[int, int]
    init: np.ndarray | None


def network_cache() -> Network:
    """`load` that reads each network once, for many runs."""
    return functools.cache(load)


def load_inputs(recipe: Recipe, network: Network | None = None) -> Inputs:
    """Load what `recipe` names, and look at its verifiers and real images; raises as `check_run`.

    With a `network_cache` verifiers come out of it; without one their files are looked at and no network is built.
    """
    lookup = network or load
    classifier = lookup(recipe.model)
    if recipe.student is not None:
        classifier = classifier.with_student(lookup(recipe.student))
    labels, size = check_against_model(recipe, classifier)
    check_judges(recipe, classifier, labels, (lambda name: network(name).class_names) if network else None)
    return Inputs(classifier, labels, size, load_init(recipe, classifier, labels, size))


def measured_spectra(recipe: Recipe) -> dict[str, Callable[..., Any]]:
    """The spectra of real images that `recipe` names, by path."""
    return {path: measured_spectrum(path) for path in bind.spectra_of(recipe)}


def check_against_model(recipe: Recipe, classifier: Classifier) -> tuple[list[int], tuple[int, int]]:
    """What only the model can say: are the labels its classes, are the sizes ones it allows?"""
    bind.check_layers(recipe, classifier.variables["batch_stats"])
    labels = resolve_labels(recipe.image.labels, classifier.class_names, recipe.image.count, recipe.seed)
    size = recipe.image.size or (classifier.input_size, classifier.input_size)
    for name, (height, width) in [("image.size", size)] + [
        (f"stages[{i}].size", s.size) for i, s in enumerate(recipe.stages)
    ]:
        if min(height, width) < classifier.min_size:
            raise UsageError(
                f"{name}: {[height, width]} is smaller than {classifier.architecture} allows, {classifier.min_size} px"
            )
        if height > size[0] or width > size[1]:
            raise UsageError(f"{name}: {[height, width]} is larger than image.size {list(size)}")
    if recipe.stages[-1].size != size and recipe.keep == "best":
        raise UsageError(
            f"keep: 'best' needs a last stage at image.size {list(size)}, not {list(recipe.stages[-1].size)}"
        )
    return labels, size
