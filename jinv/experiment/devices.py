"""Which devices a run uses: what its config asks for, or every accelerator there is, of all processes as many of each."""

from typing import Any

import jax
from jax.sharding import NamedSharding

from jinv.core.devices import batch_sharding
from jinv.errors import UsageError
from jinv.recipe.recipe import Recipe


def check_devices(recipe: Recipe) -> None:
    """Refuse a number of devices that are not there, or that the batch can't be split over evenly.

    Raises:
      UsageError: for a config that asks for devices, and for batches that the processes of a job cannot share; any other fits.
    """
    _check_processes(recipe)
    there, wanted = len(_devices()), recipe.devices
    if wanted is None:
        return
    if isinstance(wanted, int) and wanted > there:
        raise UsageError(f"devices: {wanted}, but JAX sees {there} ({jax.default_backend()})")
    number = there if wanted == "all" else wanted
    if recipe.image.batch % number:
        asked = f"{number}" if wanted != "all" else f"'all', which are {number},"
        raise UsageError(
            f"devices: {asked} can't share a batch of {recipe.image.batch} images evenly (image.batch); "
            f"{_most(recipe.image.batch, number)} can, or a batch of {recipe.image.batch // number * number or number}"
        )


def _check_processes(recipe: Recipe) -> None:
    processes, batch = jax.process_count(), recipe.image.batch
    for key, images in (("image.batch", batch), ("image.count: the last batch", recipe.image.count % batch)):
        if images % processes:
            raise UsageError(
                f"{key}: {images} images can't be shared evenly by {processes} processes; {images // processes * processes or processes} can"
            )
    if isinstance(recipe.devices, int) and recipe.devices % processes:
        fitting = -(-recipe.devices // processes) * processes
        raise UsageError(f"devices: {recipe.devices} are not as many in each of {processes} processes; {fitting} are")


def sharding(recipe: Recipe, count: int) -> NamedSharding | None:
    """How a batch of `count` images lies on the devices, None for a single one.

    By default every accelerator, and one CPU device of each process. Of those the largest number that divides the batch is
    taken, for the batch statistics allow no padding: a smaller last batch may use fewer devices.
    """
    processes = jax.process_count()
    if isinstance(recipe.devices, int):
        wanted = recipe.devices
    elif recipe.devices is None and jax.default_backend() == "cpu":
        wanted = processes
    else:
        wanted = len(_devices())
    each = _most(count // processes, wanted // processes)
    chosen = _devices(each)
    return None if len(chosen) == 1 else batch_sharding(chosen)


def _devices(each: int | None = None) -> list[Any]:
    """The devices of all processes, as many of each: `each`, or as many as all have."""
    of = [[device for device in jax.devices() if device.process_index == p] for p in range(jax.process_count())]
    each = min(map(len, of)) if each is None else each
    return [device for devices in of for device in devices[:each]]


def _most(count: int, devices: int) -> int:
    """The largest number of devices, up to `devices`, that divides `count`."""
    return next(number for number in range(devices, 0, -1) if count % number == 0)
