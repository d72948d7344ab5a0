"""What a recipe names, loaded and looked at: network, labels, sizes, start images, spectra and colours of real images."""

from typing import NamedTuple

import numpy as np

from jinv.core.choices import Size
from jinv.errors import UsageError
from jinv.experiment.bind import Measured, check_layers, spectra_of
from jinv.experiment.shared import Shared
from jinv.experiment.start_images import load_init, measured_spectrum
from jinv.experiment.statistics import check_classes, recorded_colors
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.models.classifier import Classifier
from jinv.models.networks import Networks
from jinv.recipe.recipe import Recipe
from jinv.weights.labels import resolve_labels


class Inputs(NamedTuple):
    """A recipe's network, of a committee the first, class ids, image size, start images (None for noise), what was measured on images."""

    classifier: Classifier
    labels: list[int]
    size: Size
    init: np.ndarray | None
    measured: Measured


def load_inputs(recipe: Recipe, shared: Shared, vocabulary: Vocabulary | None = None) -> Inputs:
    """Load what `recipe` names.

    Raises:
      JinvError: something is missing or wrong.
    """
    networks = shared.networks(recipe, vocabulary)
    classifier = networks.first
    labels, size = check_against_model(recipe, networks)
    init = load_init(recipe, classifier, labels, size)
    spectra = {path: measured_spectrum(path) for path in spectra_of(recipe)}
    files = {path: shared.statistics(path) for path in recipe.statistics_files}
    colors = recorded_colors(recipe, vocabulary or standard_vocabulary(), files)
    return Inputs(classifier, labels, size, init, Measured(spectra, colors))


def check_against_model(recipe: Recipe, networks: Networks) -> tuple[list[int], Size]:
    """What only the model can say: are the labels its classes, are the sizes ones it allows?"""
    classifier, strictest = networks.first, max(networks.members, key=lambda member: member.min_size)
    for member in networks.members:
        check_layers(recipe, member)
    image = recipe.image
    labels = resolve_labels(
        image.labels, classifier.class_names, image.count, recipe.seed, plan=image.plan, batch=image.batch
    )
    for member in networks.members:
        check_classes(recipe, member, labels)
    size = recipe.image.size or (classifier.input_size, classifier.input_size)
    sizes = [("image.size", size), *((f"stages[{i}].size", s.size) for i, s in enumerate(recipe.stages))]
    for name, (height, width) in sizes:
        if min(height, width) < strictest.min_size:
            raise UsageError.of(
                name, f"{[height, width]} is smaller than {strictest.architecture} allows, {strictest.min_size} px"
            )
        if height > size[0] or width > size[1]:
            raise UsageError.of(name, f"{[height, width]} is larger than image.size {list(size)}")
    if recipe.stages[-1].size != size and recipe.keep == "best":
        raise UsageError.of(
            "keep", f"'best' needs a last stage at image.size {list(size)}, not {list(recipe.stages[-1].size)}"
        )
    return labels, size
