"""Binds a checked `Recipe` to the core: names become functions, tables become optimizers, schedules and stages.

Everything here that can be wrong is a `UsageError` naming the key; nothing here loads a model.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jinv.core.augment import Augmentation
from jinv.core.choices import Size
from jinv.core.chunked import chunked
from jinv.core.committee import AnyForward, Committee
from jinv.core.decorrelation import Decorrelate
from jinv.core.objective import Term, hyperparameters_of, term_fields
from jinv.core.parameterization import Bounds, staged
from jinv.core.projections import Projection
from jinv.core.step import Method, Stage
from jinv.core.synthesis import clip_bounds
from jinv.core.types import Colors, RecordedColors
from jinv.errors import UsageError
from jinv.experiment.metrics import bind_metrics
from jinv.experiment.values import bind_hyperparameters, bind_optimizer, bind_schedule, bind_weight
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.models.classifier import Classifier
from jinv.models.networks import Networks
from jinv.models.precision import check_precision, with_precision
from jinv.recipe.recipe import Recipe

_ANY_SIZE = (8, 8)
"""Of a parameterization that is made to see whether its hyperparameters can be."""


class Measured(NamedTuple):
    """What a config's words stand for that were measured on images.

    spectra: of a parameterization's `spectrum = FOLDER_OR_ZIP`, by path. colors: those that `statistics` has, for "recorded".
    """

    spectra: Mapping[str, Callable[..., Any]] = {}  # noqa: RUF012  (never written)
    colors: RecordedColors | None = None


def bind_stage(
    recipe: Recipe,
    index: int,
    batch: int,
    vocabulary: Vocabulary | None = None,
    measured: Measured | None = None,
    rate_scale: float = 1.0,
) -> Stage:
    """The core's stage: its terms, its augmentations, its optimizer built for batches of `batch` images.

    `rate_scale` multiplies the learning rate.

    Without what was measured, spectra are left out and colours stay names: enough to see whether all else is right.
    """
    stage, vocabulary = recipe.stages[index], vocabulary or standard_vocabulary()
    rate = bind_schedule(stage.learning_rate, stage.steps, f"stages[{index}].learning_rate", vocabulary)
    if rate_scale != 1.0:
        rate = _scaled(rate, rate_scale)
    spec = stage.optimizer if isinstance(stage.optimizer, dict) else {"name": stage.optimizer}
    optimizer = bind_optimizer(spec, rate, batch, f"stages[{index}].optimizer", vocabulary)
    make = _parameterization(stage.parameterization, f"stages[{index}].parameterization", vocabulary, measured)
    return Stage(
        size=stage.size,
        steps=stage.steps,
        terms=bind_terms(recipe, stage.steps, vocabulary, measured),
        optimizer=optimizer,
        learning_rate=rate,
        augmentations=bind_augmentations(recipe, stage.size, stage.steps, vocabulary),
        parameterization=functools.partial(staged, make, stage.upsample),
        start=stage.start,
        low_pass=None
        if stage.low_pass is None
        else bind_schedule(stage.low_pass, stage.steps, f"stages[{index}].low_pass", vocabulary),
        projections=bind_projections(recipe, stage.steps, vocabulary),
    )


def bind_training_augmentations(
    tables: Mapping[str, dict[str, Any]], size: Size, steps: int, vocabulary: Vocabulary
) -> tuple[Augmentation, ...]:
    """The augmentations of a training of `steps` updates: every picture has draws of its own, in every epoch of one kind.

    Raises:
      UsageError: as `bind_augmentation`; `draw`, or a schedule.
    """
    bound = []
    for name, table in tables.items():
        if "draw" in table:
            raise UsageError.of(
                f"augment.{name}.draw", "is of a synthesis; a training draws for every picture by itself"
            )
        found = bind_augmentation(name, {**table, "draw": "image"}, size, steps, vocabulary)
        for key, value in found.hyperparameters.items():
            if callable(value):
                raise UsageError.of(
                    f"augment.{name}.{key}",
                    "a schedule is of a synthesis; a training's views are of one kind in all epochs",
                )
        bound.append(found)
    return tuple(bound)


def _scaled(rate: Any, scale: float) -> Any:
    return (lambda step: scale * rate(step)) if callable(rate) else scale * rate


def bind_terms(
    recipe: Recipe, steps: int, vocabulary: Vocabulary | None = None, measured: Measured | None = None
) -> list[Term]:
    """The objective's terms for a stage of `steps` steps."""
    vocabulary, bound = vocabulary or standard_vocabulary(), []
    for name, entry in recipe.terms.items():
        function = vocabulary.meaning("terms", name, f"terms.{name}")
        if "student_logits" in term_fields(function) and recipe.student is None:
            raise UsageError.of(f"terms.{name}", "compares with a student network; set student = NAME_OR_FILE")
        if "recorded" in term_fields(function) and not recipe.statistics_files:
            raise UsageError.of(
                f"terms.{name}", "compares with recorded statistics (jinv record-stats); set statistics = FILE"
            )
        hyperparameters = {key: value for key, value in entry.items() if key != "weight"}
        known = hyperparameters_of(function)
        hyperparameters = bind_hyperparameters(
            f"terms.{name}", hyperparameters, known, steps, vocabulary, extra=("weight",)
        )
        hyperparameters = _with_colors(hyperparameters, known, measured)
        weight = bind_weight(name, recipe.terms, steps, vocabulary)
        bound.append(Term(name, function, weight, hyperparameters))
    return bound


def bind_augmentations(
    recipe: Recipe, size: Size, steps: int, vocabulary: Vocabulary | None = None
) -> list[Augmentation]:
    """The augmentations for a stage of `steps` steps at which the network sees `size`."""
    vocabulary = vocabulary or standard_vocabulary()
    return [bind_augmentation(name, entry, size, steps, vocabulary) for name, entry in recipe.augment.items()]


def bind_augmentation(
    name: str, entry: Mapping[str, Any], size: Size, steps: int, vocabulary: Vocabulary
) -> Augmentation:
    """One augmentation by its table."""
    function = vocabulary.meaning("augmentations", name, f"augment.{name}")
    hyperparameters = {key: value for key, value in entry.items() if key != "draw"}
    known = hyperparameters_of(function)
    if name == "roll":
        shift = hyperparameters.setdefault("max_shift", min(size) // 8)
        if isinstance(shift, float) and 0 < shift < 1:  # a share of the stage's size
            hyperparameters["max_shift"] = round(shift * min(size))
    hyperparameters = bind_hyperparameters(
        f"augment.{name}", hyperparameters, known, steps, vocabulary, extra=("draw",)
    )
    _check_augmentation(name, hyperparameters, known, size)
    return Augmentation(name, function, hyperparameters, entry.get("draw", "batch"))


def bind_projections(recipe: Recipe, steps: int, vocabulary: Vocabulary | None = None) -> list[Projection]:
    """What is applied to the pixels after each update of a stage of `steps` steps."""
    vocabulary, bound = vocabulary or standard_vocabulary(), []
    for name, entry in recipe.project.items():
        function = vocabulary.meaning("projections", name, f"project.{name}")
        known = hyperparameters_of(function)
        hyperparameters = bind_hyperparameters(f"project.{name}", entry, known, steps, vocabulary)
        bound.append(Projection(name, function, hyperparameters))
    return bound


def _check_augmentation(name: str, given: dict[str, Any], known: dict[str, inspect.Parameter], size: Size) -> None:
    values = {key: given.get(key, parameter.default) for key, parameter in known.items()}
    limit = min(size) if values.get("one_sided") else min(size) / 2
    if name == "roll" and values["max_shift"] >= limit and min(size) > 1:
        share = "" if values["one_sided"] else "half of "
        raise UsageError.of(
            "augment.roll.max_shift", f"{values['max_shift']} must be less than {share}the stage's size {min(size)}"
        )
    numbers = {key: value for key, value in values.items() if isinstance(value, float)}
    if name == "padded_crop" and values["padding"] >= min(size):
        raise UsageError.of(
            "augment.padded_crop.padding", f"{values['padding']} must be less than the picture's size {min(size)}"
        )
    for key in ("probability", "min_scale", "max_scale"):
        if numbers.get(key, 0) > 1:
            raise UsageError.of(f"augment.{name}.{key}", f"{numbers[key]} must be between 0 and 1")
    for key in ("min_scale", "min_factor", "min_sigma"):
        if numbers.get(key, 1) == 0:
            raise UsageError.of(f"augment.{name}.{key}", "0 must be above 0")
    if numbers.get("max_ratio", 1) < 1:
        raise UsageError.of(f"augment.{name}.max_ratio", f"{numbers['max_ratio']} must be at least 1")
    for key in ("scale", "factor", "sigma"):
        low, high = numbers.get(f"min_{key}", 0.0), numbers.get(f"max_{key}", math.inf)
        if low > high:
            raise UsageError.of(f"augment.{name}.min_{key}", f"{low} is more than max_{key}, {high}")


def _parameterization(
    spec: str | dict[str, Any], where: str, vocabulary: Vocabulary, measured: Measured | None
) -> Callable[..., Any]:
    hyperparameters: dict[str, Any] = dict(spec) if isinstance(spec, dict) else {"name": spec}
    make = vocabulary.meaning("parameterizations", hyperparameters.pop("name"), where)
    known = hyperparameters_of(make)
    hyperparameters = bind_hyperparameters(where, hyperparameters, known, 1, vocabulary, extra=("name",))
    spectrum = hyperparameters.pop("spectrum", None)
    if spectrum is not None and not isinstance(spectrum, str):
        raise UsageError.of(f"{where}.spectrum", f"{spectrum!r} must be the path of a folder or zip of images")
    if spectrum is not None and measured is not None:
        hyperparameters["spectrum"] = measured.spectra[spectrum]
    hyperparameters = _with_colors(hyperparameters, known, measured)
    later = {"spectrum", *_recorded_keys(hyperparameters, known)}
    try:
        make(_ANY_SIZE, **{key: value for key, value in hyperparameters.items() if key not in later})
    except ValueError as error:
        raise UsageError.of(where, f"{error}") from error
    return functools.partial(make, **hyperparameters)


def check_layers(recipe: Recipe, classifier: Classifier) -> None:
    """Are the layers that terms name layers whose statistics the network gives?

    Raises:
      UsageError: a layer beyond the last.
    """
    recorded = classifier.taps.layers if classifier.taps else ()
    count = len(recorded) or len(jax.tree.leaves(classifier.variables["batch_stats"])) // 2
    what = "a layer of the recorded statistics" if recorded else "a batch-norm layer of the model"
    for name, entry in recipe.terms.items():
        if entry.get("layer", 0) >= count:
            raise UsageError.of(f"terms.{name}.layer", f"{entry['layer']} must be {what}, 0 to {count - 1}")


def spectra_of(recipe: Recipe) -> list[str]:
    """The folders or zips of images whose spectrum a parameterization keeps."""
    specs = [stage.parameterization for stage in recipe.stages]
    return sorted({spec["spectrum"] for spec in specs if isinstance(spec, dict) and "spectrum" in spec})


def colors_wanted(recipe: Recipe, vocabulary: Vocabulary) -> str | None:
    """The first key that asks for recorded colours, None where none does."""
    wanted = []
    for name, entry in recipe.terms.items():
        known = hyperparameters_of(vocabulary.meaning("terms", name, f"terms.{name}"))
        wanted += [f"terms.{name}.{key}" for key in _recorded_keys(entry, known)]
    for index, stage in enumerate(recipe.stages):
        if isinstance(stage.parameterization, dict):
            where = f"stages[{index}].parameterization"
            make = vocabulary.meaning("parameterizations", stage.parameterization["name"], where)
            wanted += [f"{where}.{key}" for key in _recorded_keys(stage.parameterization, hyperparameters_of(make))]
    return wanted[0] if wanted else None


def _recorded_keys(given: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> list[str]:
    """The hyperparameters that ask for recorded colours, by their annotations."""
    of_colors = (Colors, Decorrelate)
    words = [key for key, value in given.items() if isinstance(value, str) and value == "recorded"]
    return [key for key in words if key in known and known[key].annotation in of_colors]


def _with_colors(
    given: dict[str, Any], known: Mapping[str, inspect.Parameter], measured: Measured | None
) -> dict[str, Any]:
    if measured is None or measured.colors is None:
        return given
    return given | dict.fromkeys(_recorded_keys(given, known), measured.colors)


def bind_classifier(recipe: Recipe, classifier: Classifier) -> Classifier:
    """The network as the run computes it, but for rematerialisation: its precision, and what long runs gain from."""
    return with_precision(classifier, recipe.precision).prepared()


def bind_forward(recipe: Recipe, networks: Networks) -> AnyForward:
    """The bound networks' forward, in chunks where the recipe says so."""
    chunk = recipe.image.chunk
    forwards = tuple(chunked(forward, chunk) if chunk else forward for forward in networks.forwards)
    return forwards[0] if len(forwards) == 1 else Committee(forwards, networks.shares, networks.draw)


def bind_method(recipe: Recipe, classifier: Classifier, size: Size) -> Method:
    """What all stages of the recipe have in common."""
    bounds = pixel_bounds(recipe, classifier)
    return Method(size, bounds, recipe.keep, recipe.copies, float(recipe.statistics_momentum))


def pixel_bounds(recipe: Recipe, classifier: Classifier) -> Bounds | None:
    """What the variable is clipped to after every update, in network units."""
    if recipe.clip == "none":
        return None
    if recipe.clip == "variable":
        return clip_bounds(classifier.mean, classifier.std)
    low, high = recipe.clip_bounds
    return jnp.full(3, low), jnp.full(3, high)


def check_recipe(recipe: Recipe, vocabulary: Vocabulary | None = None) -> None:
    """Bind everything once, so that what is wrong is said before a model is loaded.

    Raises:
      UsageError: an unknown or ill-typed term, augmentation, schedule, optimizer or metric; a precision that is not there; recorded
        colours, and no file.
    """
    check_precision(recipe.precision)
    for index in range(len(recipe.stages)):
        bind_stage(recipe, index, recipe.image.batch, vocabulary)
    where = colors_wanted(recipe, vocabulary or standard_vocabulary())
    if where and not recipe.statistics_files:
        raise UsageError.of(where, "'recorded' needs the colours of images (jinv record-stats); set statistics = FILE")
    bind_metrics(recipe.metric, vocabulary)
