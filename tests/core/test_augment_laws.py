"""Laws of the augmentations, over keys, sizes and strengths that hypothesis draws."""

import functools
import zlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jinv.core.augment import AUGMENTATIONS, Augmentation, augment_batch
from jinv.core.objective import hyperparameters_of
from jinv.core.step import step_keys
from jinv.core.types import Number

pytestmark = pytest.mark.usefixtures("unoptimized")

# The same examples every time; sizes from few, since each is compiled.
laws = settings(derandomize=True, max_examples=10, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([(1, 1), (1, 9), (7, 5)])
LINEAR = ["flip", "resized_crop", "roll", "rotate", "zoom"]
GIVEN = {"roll": {"max_shift": 3}}


def picture(seed, size, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(*size, 3)), dtype)


@functools.cache
def compiled(name):
    return jax.jit(functools.partial(AUGMENTATIONS[name], **GIVEN.get(name, {})))


@functools.cache
def of_batch(name, draw):
    augmentations = [Augmentation(name, AUGMENTATIONS[name], GIVEN.get(name, {}), draw)]
    return jax.jit(functools.partial(augment_batch, augmentations))


@functools.cache
def rolled(max_shift, one_sided):
    return jax.jit(functools.partial(AUGMENTATIONS["roll"], max_shift=max_shift, one_sided=one_sided))


@laws
@given(seeds, sizes, st.sampled_from([0, 1, 4]), st.booleans())
def test_a_roll_is_a_permutation_that_the_opposite_roll_undoes(seed, size, max_shift, one_sided):
    image = np.arange(size[0] * size[1], dtype=np.float32).reshape(*size, 1)  # no two pixels are equal
    result = np.asarray(rolled(max_shift, one_sided)(jax.random.key(seed), jnp.asarray(image)))
    assert sorted(result.ravel()) == sorted(image.ravel())
    shift = np.argwhere(result[..., 0] == 0)[0]
    np.testing.assert_array_equal(np.roll(result, -shift, (0, 1)), image)
    for moved, n in zip(shift, size, strict=True):
        assert moved in {s % n for s in range(0 if one_sided else -max_shift, max_shift + 1)}


@laws
@given(seeds, sizes, st.sampled_from([0.0, 0.3, 1.0]))
def test_a_flip_is_the_mirror_image_or_none_and_twice_the_identity(seed, size, probability):
    image, key = picture(0, size), jax.random.key(seed)
    once = flipped()(key, image, probability)
    mirrored, same = (np.array_equal(once, x) for x in (image[:, ::-1], image))
    assert mirrored if probability == 1 else same if probability == 0 else mirrored or same
    np.testing.assert_array_equal(flipped()(key, once, probability), image)  # the same key, the same decision


@functools.cache
def flipped():
    return jax.jit(lambda key, image, p: AUGMENTATIONS["flip"](key, image, probability=p))


@pytest.mark.parametrize("name", LINEAR)
@laws
@given(seed=seeds, size=sizes, value=st.floats(-3, 3, width=32))
def test_where_pixels_come_from_depends_on_no_pixel(name, seed, size, value):
    """A constant stays that constant, a result stays within the image's range, and the whole is linear."""
    key, image, other = jax.random.key(seed), picture(1, size), picture(2, size)
    function = functools.partial(compiled(name), key)
    np.testing.assert_allclose(function(jnp.full_like(image, value)), value, rtol=1e-5, atol=1e-6)
    result = function(image)
    assert image.min() - 1e-5 <= result.min() and result.max() <= image.max() + 1e-5
    chex.assert_trees_all_close(function(image - value * other), result - value * function(other), atol=3e-5)


@pytest.mark.parametrize("name", LINEAR)
@laws
@given(seed=seeds, size=sizes)
def test_the_gradient_is_the_maps_transpose(name, seed, size):
    """<A x, y> = <x, A' y>, whoever wrote A' down."""
    key, image, other = jax.random.key(seed), picture(1, size), picture(2, size)
    result, transpose = jax.vjp(functools.partial(compiled(name), key), image)
    left, right = (np.vdot(np.asarray(a, np.float64), b) for a, b in ((result, other), (image, transpose(other)[0])))
    np.testing.assert_allclose(left, right, atol=1e-4)


@functools.cache
def draws(name, draw):
    """(of the batch, of each image alone with the key that is its own)."""
    tag = zlib.crc32(name.encode()) & 0x7FFFFFFF  # how a name enters a draw: what resumed runs rely on

    @jax.jit
    def both(batch_key, image_keys, batch):
        apply = functools.partial(augment_batch, [Augmentation(name, AUGMENTATIONS[name], GIVEN.get(name, {}), draw)])
        keys = [batch_key] * len(batch) if draw == "batch" else image_keys
        alone = [compiled(name)(jax.random.fold_in(keys[i], tag), batch[i]) for i in range(len(batch))]
        return apply(batch_key, image_keys, batch), jnp.stack(alone)

    return both


@pytest.mark.parametrize(("name", "draw"), [(name, "image") for name in AUGMENTATIONS] + [("roll", "batch")])
@laws
@given(seed=seeds)
def test_the_same_key_is_the_same_draw_alone_and_in_a_batch(name, draw, seed):
    batch_key, image_keys = step_keys((jax.random.key(seed), jnp.arange(2, dtype=jnp.uint32)), 0)
    batch = jnp.stack([picture(i, (7, 5)) for i in range(2)])
    together, alone = draws(name, draw)(batch_key, image_keys, batch)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_array_equal(draws(name, draw)(batch_key, image_keys, batch)[0], together)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("double", [False, True])
def test_shape_and_type_are_kept_at_odd_sizes_whatever_the_schedules_precision(name, double):
    scheduled = {k: p.default for k, p in hyperparameters_of(AUGMENTATIONS[name]).items() if p.annotation == Number}
    scheduled = {key: lambda step, value=value: value + 0.0 * step for key, value in scheduled.items()}
    with jax.enable_x64(double):
        augmentation = Augmentation(name, AUGMENTATIONS[name], GIVEN.get(name, {}) | scheduled, "image")
        keys = step_keys((jax.random.key(0), jnp.arange(2, dtype=jnp.uint32)), 0)
        for size in [(1, 1), (1, 9), (7, 5), (33, 2)]:
            for dtype in (jnp.float32, jnp.float64)[: 1 + double]:
                image = jax.ShapeDtypeStruct((2, *size, 3), dtype)
                result = jax.eval_shape(functools.partial(augment_batch, [augmentation]), *keys, image, jnp.int32(3))
                assert (result.shape, result.dtype) == (image.shape, image.dtype)
