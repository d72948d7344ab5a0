"""Binds a checked `Recipe` to the core: names become functions, tables become optimizers, schedules and stages.

Everything here that can be wrong is a `UsageError` naming the key; nothing here loads a model. A sweep binds recipes
whose numbers are arrays, inside the program: those were checked when they were plain numbers, and pass here.
"""

import inspect
import math
import typing
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinv.config import Recipe, StageRecipe
from jinv.core import synthesis
from jinv.core.augment import AUGMENTATIONS, Augmentation
from jinv.core.objective import TERMS, Term, hyperparameters_of, term_fields
from jinv.core.optimizers import adam
from jinv.core.parameterization import pooled_pixels, resized_pixels
from jinv.core.schedules import SCHEDULES
from jinv.core.types import Number
from jinv.errors import StorageError, UsageError, nearest


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
        _check_hyperparameters(f"terms.{name}", hyperparameters, known, extra=("weight",))
        weight = bind_schedule(entry["weight"], steps, f"terms.{name}.weight")
        bound.append(Term(name, TERMS[name], weight, hyperparameters))
    return bound


def bind_augmentations(recipe: Recipe, size: tuple[int, int]) -> list[Augmentation]:
    """The augmentations for a stage at which the network sees `size`."""
    bound = []
    for name, entry in recipe.augment.items():
        if name not in AUGMENTATIONS:
            raise UsageError(
                f"augment.{name}: no such augmentation{nearest(name, AUGMENTATIONS)} (known: {', '.join(AUGMENTATIONS)})"
            )
        hyperparameters = {key: value for key, value in entry.items() if key != "draw"}
        known = hyperparameters_of(AUGMENTATIONS[name])
        if name == "roll":
            hyperparameters.setdefault("max_shift", min(size) // 8)
        _check_hyperparameters(f"augment.{name}", hyperparameters, known, extra=("draw",))
        if name == "roll" and 2 * hyperparameters["max_shift"] >= min(size) > 1:
            raise UsageError(
                f"augment.roll.max_shift: {hyperparameters['max_shift']} must be less than half of the stage's size {min(size)}"
            )
        probability = hyperparameters.get("probability", 0)
        if not _traced(probability) and probability > 1:
            raise UsageError(f"augment.{name}.probability: {probability} must be between 0 and 1")
        bound.append(Augmentation(name, AUGMENTATIONS[name], hyperparameters, entry.get("draw", "batch")))
    return bound


def bind_stage(stage: StageRecipe, index: int, batch: int) -> synthesis.Stage:
    """The core's stage, with its optimizer built for batches of `batch` images."""
    rate = bind_schedule(stage.learning_rate, stage.steps, f"stages[{index}].learning_rate")
    spec = stage.optimizer if isinstance(stage.optimizer, dict) else {"name": stage.optimizer}
    optimizer = _optimizer(spec, rate, batch, f"stages[{index}].optimizer")
    way = pooled_pixels if stage.upsample == "pool" else resized_pixels
    return synthesis.Stage(stage.size, stage.steps, optimizer, rate, way)


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
    _check_hyperparameters(where, hyperparameters, known, extra=("schedule",))
    missing = [key for key, p in known.items() if p.default is p.empty and key not in hyperparameters]
    if missing:
        raise UsageError(f"{where}.{missing[0]}: needed by the schedule {name!r}")
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


def _check_hyperparameters(
    where: str, given: dict[str, Any], known: dict[str, inspect.Parameter], *, extra: Sequence[str] = ()
) -> None:
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
        elif annotation in (float, Number) and (
            isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0
        ):
            raise UsageError(f"{where}.{key}: {value!r} must be a finite number of at least 0")


def _traced(value: Any) -> bool:
    """Is it a sweep's number, inside the program?"""
    return isinstance(value, jax.Array)


def check_recipe(recipe: Recipe) -> None:
    """Bind everything once, so that what is wrong is said before a model is loaded.

    Raises:
      UsageError: an unknown or ill-typed term, augmentation, schedule or optimizer.
    """
    for index, stage in enumerate(recipe.stages):
        bind_terms(recipe, stage.steps)
        bind_augmentations(recipe, stage.size)
        bind_stage(stage, index, recipe.batch)


def load_init(recipe: Recipe, size: tuple[int, int], preprocess: Callable[[Any], Any]) -> Any | None:
    """The start images (count or 1, height, width, 3) in network units, or None for noise.

    A `.npy` file is taken as it is; an image file is resized to `size` and standardised.

    Raises:
      StorageError: no such file. UsageError: an array of another shape or not finite.
    """
    if recipe.init == "noise":
        return None
    if recipe.init.endswith(".npy"):
        try:
            array = np.load(recipe.init, allow_pickle=False)
        except FileNotFoundError as error:
            raise StorageError(f"{recipe.init}: no such file (image.init)") from error
        except (ValueError, OSError, EOFError) as error:
            raise UsageError(f"{recipe.init}: not a plain .npy array (image.init): {error}") from error
        if (
            array.dtype.kind not in "fiu"
            or array.ndim != 4
            or array.shape[0] not in (1, recipe.count)
            or array.shape[1:] != (*size, 3)
        ):
            raise UsageError(
                f"{recipe.init}: {array.dtype} {array.shape}, but image.init must be numbers of shape ({recipe.count} or 1, {size[0]}, {size[1]}, 3)"
            )
        if not np.isfinite(array).all():
            raise UsageError(f"{recipe.init}: image.init has values that are not finite")
        array = array.astype(np.float32)
    else:
        from jinv.images import read_image, resize_image

        array = np.asarray(preprocess(resize_image(read_image(recipe.init), size)[None]))
    return np.broadcast_to(array, (recipe.count, *array.shape[1:]))
