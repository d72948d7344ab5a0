"""Which devices a run uses: what its config asks for, or every accelerator there is."""

import jax
from jax.sharding import NamedSharding

from jinv.core.devices import batch_sharding
from jinv.errors import UsageError
from jinv.recipe.recipe import Recipe


def check_devices(recipe: Recipe) -> None:
    """Refuse a number of devices that are not there, or that the batch can't be split over evenly.

    Raises:
      UsageError: for a config that asks for devices; one that doesn't always fits.
    """
    there, wanted = jax.device_count(), recipe.devices
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


def sharding(recipe: Recipe, count: int) -> NamedSharding | None:
    """How a batch of `count` images lies on the devices, None for a single one.

    By default every accelerator, and one CPU device. Of those the largest number that divides the batch is taken, for
    the batch statistics allow no padding: a smaller last batch may use fewer devices.
    """
    if isinstance(recipe.devices, int):
        wanted = recipe.devices
    elif recipe.devices is None and jax.default_backend() == "cpu":
        wanted = 1
    else:
        wanted = jax.device_count()
    number = _most(count, wanted)
    return None if number == 1 else batch_sharding(jax.devices()[:number])


def _most(count: int, devices: int) -> int:
    """The largest number of devices, up to `devices`, that divides `count`."""
    return next(number for number in range(devices, 0, -1) if count % number == 0)
