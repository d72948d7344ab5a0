"""Binds a checked `Recipe` to the core: names become functions, tables become optimizers, schedules and stages.

Everything here that can be wrong is a `UsageError` naming the key; nothing here loads a model. A sweep binds recipes
whose numbers are arrays, inside the program: those were checked when they were plain numbers, and pass here.
"""

import functools
import inspect
import math
import typing
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from jinv.core import synthesis
from jinv.core.augment import AUGMENTATIONS, Augmentation
from jinv.core.chunked import chunked
from jinv.core.objective import TERMS, Term, hyperparameters_of, term_fields
from jinv.core.optimizers import adam, normalized_gradient
from jinv.core.parameterization import PARAMETERIZATIONS, staged
from jinv.core.schedules import SCHEDULES
from jinv.core.types import Number
from jinv.errors import UsageError, nearest
from jinv.models.classifier import Classifier
from jinv.models.precision import check_precision, with_precision
from jinv.recipe.recipe import Recipe, StageRecipe


def bind_terms(recipe: Recipe, steps: int) -> list[Term]:
    """The objective's terms for a stage of `steps` steps."""
    bound = []
    for name, entry in recipe.terms.items():
        if name not in TERMS:
            raise UsageError(f"terms.{name}: no such term{nearest(name, TERMS)}; `jinv terms` lists them")
        if "student_logits" in term_fields(TERMS[name]) and recipe.student is None:
            raise UsageError(f"terms.{name}: compares with a student network; set student = NAME_OR_FILE")
        hyperparameters = {key: value for key, value in entry.items() if key != "weight"}
        known = hyperparameters_of(TERMS[name])
        hyperparameters = _bind_hyperparameters(f"terms.{name}", hyperparameters, known, steps, extra=("weight",))
        weight = bind_schedule(entry["weight"], steps, f"terms.{name}.weight")
        bound.append(Term(name, TERMS[name], weight, hyperparameters))
    return bound


def bind_augmentations(recipe: Recipe, size: tuple[int, int], steps: int = 1) -> list[Augmentation]:
    """The augmentations for a stage of `steps` steps at which the network sees `size`."""
    bound = []
    for name, entry in recipe.augment.items():
        if name not in AUGMENTATIONS:
            raise UsageError(
                f"augment.{name}: no such augmentation{nearest(name, AUGMENTATIONS)} (known: {', '.join(AUGMENTATIONS)})"
            )
        hyperparameters = {key: value for key, value in entry.items() if key != "draw"}
        known = hyperparameters_of(AUGMENTATIONS[name])
        if name == "roll":
            shift = hyperparameters.setdefault("max_shift", min(size) // 8)
            if isinstance(shift, float) and 0 < shift < 1:  # a share of the stage's size
                hyperparameters["max_shift"] = round(shift * min(size))
        hyperparameters = _bind_hyperparameters(f"augment.{name}", hyperparameters, known, steps, extra=("draw",))
        _check_augmentation(name, hyperparameters, known, size)
        bound.append(Augmentation(name, AUGMENTATIONS[name], hyperparameters, entry.get("draw", "batch")))
    return bound


def _check_augmentation(
    name: str, given: dict[str, Any], known: dict[str, inspect.Parameter], size: tuple[int, int]
) -> None:
    values = {key: given.get(key, parameter.default) for key, parameter in known.items()}
    limit = min(size) if values.get("one_sided") else min(size) / 2
    if name == "roll" and values["max_shift"] >= limit and min(size) > 1:
        share = "" if values["one_sided"] else "half of "
        raise UsageError(
            f"augment.roll.max_shift: {values['max_shift']} must be less than {share}the stage's size {min(size)}"
        )
    numbers = {key: value for key, value in values.items() if isinstance(value, float)}
    for key in ("probability", "min_scale", "max_scale"):
        if numbers.get(key, 0) > 1:
            raise UsageError(f"augment.{name}.{key}: {numbers[key]} must be between 0 and 1")
    for key in ("min_scale", "min_factor"):
        if numbers.get(key, 1) == 0:
            raise UsageError(f"augment.{name}.{key}: 0 must be above 0")
    if numbers.get("max_ratio", 1) < 1:
        raise UsageError(f"augment.{name}.max_ratio: {numbers['max_ratio']} must be at least 1")
    for key in ("scale", "factor"):
        low, high = numbers.get(f"min_{key}", 0.0), numbers.get(f"max_{key}", math.inf)
        if low > high:
            raise UsageError(f"augment.{name}.min_{key}: {low} is more than max_{key}, {high}")


def bind_stage(
    stage: StageRecipe, index: int, batch: int, *, spectra: Callable[[str], Callable[..., Any]] | None = None
) -> synthesis.Stage:
    """The core's stage, with its optimizer built for batches of `batch` images.

    Args:
      spectra: reads what a parameterization's `spectrum = FOLDER_OR_ZIP` names; without it that is left out.
    """
    rate = bind_schedule(stage.learning_rate, stage.steps, f"stages[{index}].learning_rate")
    spec = stage.optimizer if isinstance(stage.optimizer, dict) else {"name": stage.optimizer}
    optimizer = _optimizer(spec, rate, batch, f"stages[{index}].optimizer")
    make = _parameterization(stage.parameterization, f"stages[{index}].parameterization", spectra)
    way = functools.partial(staged, make, stage.upsample)
    return synthesis.Stage(stage.size, stage.steps, optimizer, rate, way, stage.start)


def _parameterization(
    spec: str | dict[str, Any], where: str, spectra: Callable[[str], Callable[..., Any]] | None
) -> Callable[..., Any]:
    hyperparameters: dict[str, Any] = dict(spec) if isinstance(spec, dict) else {"name": spec}
    name = hyperparameters.pop("name")
    if name not in PARAMETERIZATIONS:
        known_names = ", ".join(PARAMETERIZATIONS)
        raise UsageError(
            f"{where}: no such parameterization {name!r}{nearest(name, PARAMETERIZATIONS)} (known: {known_names})"
        )
    known = hyperparameters_of(PARAMETERIZATIONS[name])
    hyperparameters = _bind_hyperparameters(where, hyperparameters, known, 1, extra=("name",))
    spectrum = hyperparameters.pop("spectrum", None)
    if spectrum is not None and not isinstance(spectrum, str):
        raise UsageError(f"{where}.spectrum: {spectrum!r} must be the path of a folder or zip of images")
    if spectrum is not None and spectra is not None:
        hyperparameters["spectrum"] = spectra(spectrum)
    return functools.partial(PARAMETERIZATIONS[name], **hyperparameters)


def bind_schedule(spec: Any, steps: int, where: str) -> float | jax.Array | optax.Schedule:
    """A number stays one; a table names one of `SCHEDULES` and gives its hyperparameters."""
    if not isinstance(spec, dict):
        return spec if _traced(spec) else float(spec)
    name = spec["schedule"]
    if name not in SCHEDULES:
        raise UsageError(
            f"{where}.schedule: no such schedule {name!r}{nearest(name, SCHEDULES)} (known: {', '.join(SCHEDULES)})"
        )
    hyperparameters = {key: value for key, value in spec.items() if key != "schedule"}
    known = hyperparameters_of(SCHEDULES[name])
    hyperparameters = _bind_hyperparameters(where, hyperparameters, known, steps, extra=("schedule",))
    missing = [key for key, p in known.items() if p.default is p.empty and key not in hyperparameters]
    if missing:
        raise UsageError(f"{where}.{missing[0]}: needed by the schedule {name!r}")
    portion = hyperparameters.get("portion", 1)
    if not 0 < portion <= 1:
        raise UsageError(f"{where}.portion: {portion} must be above 0 and at most 1")
    if name == "exponential" and any(not _traced(hyperparameters[k]) and hyperparameters[k] <= 0 for k in known):
        raise UsageError(f"{where}: an exponential schedule needs start and end above 0")
    return SCHEDULES[name](steps, **hyperparameters)


def _optimizer(
    spec: dict[str, Any], rate: float | jax.Array | optax.Schedule, batch: int, where: str
) -> optax.GradientTransformation:
    name = spec["name"]
    makers: dict[str, Callable[..., optax.GradientTransformation]] = {
        key: cast(Callable[..., optax.GradientTransformation], value)
        for key, value in vars(optax).items()
        if inspect.isfunction(value) and "learning_rate" in inspect.signature(value).parameters
    }
    makers["normalized_gradient"] = normalized_gradient
    if name not in makers:
        raise UsageError(f"{where}: optax has no optimizer {name!r}{nearest(name, makers)}")
    known = {key: p for key, p in inspect.signature(makers[name]).parameters.items() if key != "learning_rate"}
    hyperparameters = {key: value for key, value in spec.items() if key != "name"}
    unknown = [key for key in hyperparameters if key not in known]
    if unknown:
        raise UsageError(f"{where}: unknown key '{unknown[0]}'{nearest(unknown[0], known)} (known: {', '.join(known)})")
    for key, value in hyperparameters.items():
        if _traced(value):
            continue
        if isinstance(value, float | int) and not isinstance(value, bool) and not math.isfinite(value):
            raise UsageError(f"{where}.{key}: {value} must be finite")
        if key == "radius" and (isinstance(value, bool) or not isinstance(value, float | int) or value <= 0):
            raise UsageError(f"{where}.radius: {value!r} must be a number above 0")
        if key in ("b1", "b2", "momentum", "decay") and not (isinstance(value, float | int) and 0 <= value < 1):
            raise UsageError(f"{where}.{key}: {value!r} must be from 0 up to, but not including, 1")
    if "eps" in known and isinstance(hyperparameters.get("eps", known["eps"].default), float | jax.Array):
        # The losses are means over the batch, so each image's gradient carries 1/batch, which Adam's ratio cancels but
        # its eps does not. Scaling eps alike makes an image's path independent of the batch it is in.
        hyperparameters["eps"] = hyperparameters.get("eps", known["eps"].default) / batch
    try:
        # Ours is the same algorithm with exact bias corrections; optax's variants (nesterov, mu_dtype ...) stay optax's.
        plain_adam = name == "adam" and {*hyperparameters} <= {"b1", "b2", "eps"}
        optimizer = (adam if plain_adam else makers[name])(learning_rate=rate, **hyperparameters)
        optimizer.init(jnp.zeros((1,)))
    except Exception as error:  # optax checks some arguments itself, in its own words
        raise UsageError(f"{where}: optax.{name} refuses {hyperparameters}: {error}") from error
    return optimizer


def _bind_hyperparameters(
    where: str, given: dict[str, Any], known: dict[str, inspect.Parameter], steps: int, *, extra: Sequence[str] = ()
) -> dict[str, Any]:
    """The checked values; where the signature says `Number`, a schedule's table becomes the schedule."""
    bound = dict(given)
    for key, value in given.items():
        if key not in known:
            valid = (*known, *extra)
            raise UsageError(f"unknown key '{where}.{key}'{nearest(key, valid)} (known: {', '.join(valid)})")
        if _traced(value):
            continue
        annotation = known[key].annotation
        choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else None
        if choices is not None:
            if value not in choices:
                raise UsageError(f"{where}.{key}: {value!r} must be one of {', '.join(map(repr, choices))}")
        elif annotation is bool:
            if not isinstance(value, bool):
                raise UsageError(f"{where}.{key}: {value!r} must be true or false")
        elif annotation is int:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"{where}.{key}: {value!r} must be a whole number of at least 0")
        elif annotation == Number and isinstance(value, dict):
            if not isinstance(value.get("schedule"), str):
                raise UsageError(f"{where}.{key}: a schedule is a table with 'schedule', one of {', '.join(SCHEDULES)}")
            bound[key] = bind_schedule(value, steps, f"{where}.{key}")
        elif annotation in (float, Number):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise UsageError(f"{where}.{key}: {value!r} must be a finite number of at least 0")
            bound[key] = float(value)
    return bound


def check_layers(recipe: Recipe, batch_stats: Any) -> None:
    """Are the layers that terms name layers of the network with these running statistics?

    Raises:
      UsageError: a layer beyond the last.
    """
    last = len(jax.tree.leaves(batch_stats)) // 2 - 1
    for name, entry in recipe.terms.items():
        if entry.get("layer", 0) > last:
            raise UsageError(
                f"terms.{name}.layer: {entry['layer']} must be a batch-norm layer of the model, 0 to {last}"
            )


def spectra_of(recipe: Recipe) -> list[str]:
    """The folders or zips of images whose spectrum a parameterization keeps."""
    specs = [stage.parameterization for stage in recipe.stages]
    return sorted({spec["spectrum"] for spec in specs if isinstance(spec, dict) and "spectrum" in spec})


def _traced(value: Any) -> bool:
    """Is it a sweep's number, inside the program?"""
    return isinstance(value, jax.Array)


def bind_classifier(recipe: Recipe, classifier: Classifier) -> Classifier:
    """The network as the run computes it: its precision, what long runs gain from, and rematerialisation."""
    bound = with_precision(classifier, recipe.precision).prepared()
    return bound.rematerialised() if recipe.remat else bound


def bind_forward(recipe: Recipe, classifier: Classifier) -> synthesis.ForwardFunction:
    """The bound classifier's forward, in chunks where the recipe says so."""
    return chunked(classifier.forward, recipe.image.chunk) if recipe.image.chunk else classifier.forward


def pixel_bounds(recipe: Recipe, classifier: Classifier) -> synthesis.Bounds | None:
    """What the variable is clipped to after every update, in network units."""
    if recipe.clip == "none":
        return None
    if recipe.clip == "variable":
        return synthesis.clip_bounds(classifier.mean, classifier.std)
    low, high = recipe.clip_bounds
    return jnp.full(3, low), jnp.full(3, high)


def check_recipe(recipe: Recipe) -> None:
    """Bind everything once, so that what is wrong is said before a model is loaded.

    Raises:
      UsageError: an unknown or ill-typed term, augmentation, schedule or optimizer; a precision that is not there.
    """
    check_precision(recipe.precision)
    for index, stage in enumerate(recipe.stages):
        bind_terms(recipe, stage.steps)
        bind_augmentations(recipe, stage.size, stage.steps)
        bind_stage(stage, index, recipe.image.batch)
