"""Which devices a run uses: what its config asks for, or every accelerator there is, of all processes as many of each."""

from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding

from jinv.core.devices import batch_sharding, settings_sharding
from jinv.errors import UsageError
from jinv.recipe.recipe import Recipe


class Spread(NamedTuple):
    """How a sweep's part lies on several devices: each has some of the settings, or some images of every setting."""

    sharding: NamedSharding
    over_settings: bool


def check_devices(recipe: Recipe, settings: int = 1) -> None:
    """Refuse a number of devices that are not there, or that neither the batch nor the settings can be split over evenly.

    settings: how many of them share a program, in a sweep.

    Raises:
      UsageError: for a config that asks for devices, and for batches that the processes of a job cannot share; any other fits.
    """
    _check_processes(recipe)
    there, wanted = len(_devices()), recipe.devices
    if wanted is None:
        return
    if isinstance(wanted, int) and wanted > there:
        raise UsageError.of("devices", f"{wanted}, but JAX sees {there} ({jax.default_backend()})")
    number = there if wanted == "all" else wanted
    if recipe.image.batch % number and settings % number:
        beside = f" and {settings} settings" if settings > 1 else ""
        asked = f"{number}" if wanted != "all" else f"'all', which are {number},"
        raise UsageError.of(
            "devices",
            f"{asked} can't share a batch of {recipe.image.batch} images{beside} evenly (image.batch); "
            f"{_most(recipe.image.batch, number)} can, or a batch of {recipe.image.batch // number * number or number}",
        )


def _check_processes(recipe: Recipe) -> None:
    processes, batch = jax.process_count(), recipe.image.batch
    for key, which, images in (
        ("image.batch", "", batch),
        ("image.count", "the last batch: ", recipe.image.count % batch),
    ):
        if images % processes:
            raise UsageError.of(
                key,
                f"{which}{images} images can't be shared evenly by {processes} processes; {images // processes * processes or processes} can",
            )
    if isinstance(recipe.devices, int) and recipe.devices % processes:
        fitting = -(-recipe.devices // processes) * processes
        raise UsageError.of(
            "devices", f"{recipe.devices} are not as many in each of {processes} processes; {fitting} are"
        )


def sharding(recipe: Recipe, count: int) -> NamedSharding | None:
    """How a batch of `count` images lies on the devices, None for a single one.

    By default every accelerator, and one CPU device of each process. Of those the largest number that divides the batch is
    taken, for the batch statistics allow no padding: a smaller last batch may use fewer devices.
    """
    processes = jax.process_count()
    each = _most(count // processes, _wanted(recipe) // processes)
    chosen = _devices(each)
    return None if len(chosen) == 1 else batch_sharding(chosen)


def sweep_sharding(recipe: Recipe, count: int, settings: int) -> Spread | None:
    """How batches of `count` images of so many settings lie on the devices, None for a single one.

    The settings are split where that keeps as many devices busy as splitting the images would: they need nothing of one
    another, while the images of a batch share its statistics.
    """
    by_settings = _most(settings, _wanted(recipe))
    if by_settings > 1 and by_settings >= _most(count, _wanted(recipe)):
        return Spread(settings_sharding(_devices(by_settings)), True)
    split = sharding(recipe, count)
    return None if split is None else Spread(split, False)


def _wanted(recipe: Recipe) -> int:
    """How many devices are to be used: by default every accelerator, and one CPU device of each process."""
    if isinstance(recipe.devices, int):
        return recipe.devices
    if recipe.devices is None and jax.default_backend() == "cpu":
        return int(jax.process_count())
    return len(_devices())


def _devices(each: int | None = None) -> list[Any]:
    """The devices of all processes, as many of each: `each`, or as many as all have."""
    of = [[device for device in jax.devices() if device.process_index == p] for p in range(jax.process_count())]
    each = min(map(len, of)) if each is None else each
    return [device for devices in of for device in devices[:each]]


def _most(count: int, devices: int) -> int:
    """The largest number of devices, up to `devices`, that divides `count`."""
    return next(number for number in range(devices, 0, -1) if count % number == 0)
