"""`jinv attribute` and `jinv.attribute`: what one term wants of every pixel, its gradient, of a run's image or any other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jinv.core import parameterization
from jinv.core.inspection import make_attribution
from jinv.core.parameterization import staged
from jinv.errors import NumericalError, UsageError, naming_option, nearest
from jinv.experiment import bind
from jinv.experiment.experiment import Experiment, load_experiment
from jinv.experiment.vocabulary import Vocabulary
from jinv.images.codec import fit_image, read_image
from jinv.recipe.read import read_config
from jinv.recipe.recipe import Recipe, replaced
from jinv.record.config import CONFIG
from jinv.record.run import RunRecord, open_run
from jinv.runs.checks import check_made_with
from jinv.runs.records import new_manifest


@dataclass(frozen=True)
class TermGradient:
    """A term's value, without its weight, of the image's batch, and its gradient (height, width, 3) in the image's pixels,
    per network unit."""

    name: str
    value: float
    gradient: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Attribution:
    """An image, uint8 (height, width, 3), the class it was made for, the images that share its batch, and a gradient per term."""

    name: str
    class_name: str
    picture: np.ndarray = field(repr=False)
    batch: int
    terms: tuple[TermGradient, ...]


def attribute(
    run: str | Path | Recipe,
    terms: Sequence[str] = (),
    *,
    image: int | str | Path = 0,
    label: int | str | None = None,
    vocabulary: Vocabulary | None = None,
) -> Attribution:
    """The gradient of terms in the pixels of an image, by the objective of the last stage's last step, nothing augmented.

    Terms that couple a batch, batch statistics among them, are those of the batch in which the run made the image; a picture
    that is given is a batch of its own.

    Args:
      run: a finished run's directory, or a recipe, for a picture.
      terms: by name; none are all.
      image: the number of an image of the run, or a picture's file, which is made as large as the run's images.
      label: of a picture, its class.

    Raises:
      UsageError: no such term, image or class; a recipe and no picture. NumericalError: a gradient is not finite.
      RunConflictError: the networks, plugins or statistics of the run are others by now. Others as `open_run`, `load_experiment` and `read_image`.
    """
    record = None if isinstance(run, Recipe) else open_run(run)
    recipe = run if isinstance(run, Recipe) else read_config(Path(run) / CONFIG)
    chosen = _chosen(recipe, terms)
    if isinstance(image, int):
        if record is None:
            raise UsageError("--image: a config has no images; name a picture's file, or a run")
        return _of_run(record, recipe, chosen, image, label, vocabulary)
    with naming_option("--image"):
        pixels = read_image(image)
    if label is None:
        raise UsageError(f"--label: which class is {image} to be seen as? A name or an id")
    own = replaced(recipe.image, labels=(label,), count=1, batch=1, plan="cycle")
    experiment = _experiment(replaced(recipe, image=own), vocabulary, record)
    picture = fit_image(pixels, experiment.size)
    standardised = np.asarray(experiment.classifier.preprocess(picture[None]))
    return _attribution(experiment, chosen, standardised, 0, Path(image).name)


def _of_run(
    record: RunRecord,
    recipe: Recipe,
    chosen: Sequence[str],
    number: int,
    label: int | str | None,
    vocabulary: Vocabulary | None,
) -> Attribution:
    count = len(record.labels)
    if label is not None:
        raise UsageError(f"--label {label}: is for a picture's file; the run knows the classes of its images")
    if not 0 <= number < count:
        raise UsageError(f"--image {number}: the run's images are 0 to {count - 1}")
    batch = recipe.image.batches[number // recipe.image.batch]
    # Of exactly these labels, whatever the config's came from.
    labels = tuple(record.labels[batch].tolist())
    own = replaced(recipe.image, labels=labels, count=len(labels), batch=len(labels), plan="cycle")
    experiment = _experiment(replaced(recipe, image=own), vocabulary, record)
    pixels = np.asarray(record.images[batch], np.float32)
    return _attribution(experiment, chosen, pixels, number - batch.start, f"image {number}")


def _experiment(recipe: Recipe, vocabulary: Vocabulary | None, record: RunRecord | None) -> Experiment:
    """What is needed of a recipe, a run's or one alone: its networks and terms, and nothing of where it starts, what it optimises, or how.

    Raises:
      RunConflictError: it is not what the run was made with. UsageError: a recipe alone that cannot be carried out.
    """
    image = replaced(recipe.image, init="noise", init_reference=None)
    plain = {"parameterization": "pixels", "low_pass": None, "learning_rate": 0.1, "optimizer": "adam"}
    stages = tuple(replaced(stage, **plain) for stage in recipe.stages)
    rest = {"augment": {}, "project": {}, "log_statistics": False}
    experiment = load_experiment(replaced(recipe, image=image, stages=stages, **rest), vocabulary=vocabulary)
    if record is None:
        experiment.check_traces()  # those of a run were carried out
    else:
        _check_same(record, experiment)
    return experiment


def _check_same(record: RunRecord, experiment: Experiment) -> None:
    """Refuse networks, statistics and terms that are others than the run's; what else plugins brought decides no gradient.

    Raises:
      RunConflictError: they are.
    """
    now = new_manifest(experiment)
    needed = {name for plugin in now.plugins or () for name in plugin.names}
    then = [
        p.model_copy(update={"names": tuple(n for n in p.names if n in needed)}) for p in record.manifest.plugins or ()
    ]
    manifest = record.manifest.model_copy(update={"plugins": tuple(then) or None})
    check_made_with(record.path, manifest, now, "attributed")


def _chosen(recipe: Recipe, names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in recipe.terms:
            known = ", ".join(recipe.terms)
            raise UsageError(f"--term {name}: no term of the config{nearest(name, recipe.terms)} (known: {known})")
    return list(dict.fromkeys(names)) or list(recipe.terms)


def _attribution(
    experiment: Experiment, chosen: Sequence[str], pixels: np.ndarray, place: int, name: str
) -> Attribution:
    stage = next((s for s in reversed(experiment.recipe.stages) if s.steps), experiment.recipe.stages[-1])
    index = experiment.recipe.stages.index(stage)
    terms = [term for term in experiment.stages(len(pixels))[index].terms if term.name in chosen]
    way = staged(parameterization.pixels, stage.upsample, experiment.size, stage.size)
    forward = bind.bind_forward(experiment.recipe, experiment.networks)
    make = make_attribution(forward, terms, lambda image: way.view(way.init(image)))
    labels, step = jnp.asarray(experiment.labels, jnp.int32), jnp.asarray(max(stage.steps - 1, 0), jnp.int32)
    with experiment.precision():
        found = make(experiment.networks.variables, jnp.asarray(pixels), labels, step)
    gradients = []
    for term in chosen:
        value, gradient = found[term]
        own = np.asarray(gradient[place], np.float32)
        if not np.isfinite(own).all():
            raise NumericalError(f"{name}: the gradient of {term} is not finite")
        gradients.append(TermGradient(term, float(value), own))
    picture = experiment.classifier.to_uint8(pixels)[place]
    return Attribution(name, experiment.class_names[place], picture, len(pixels), tuple(gradients))
