"""Adam as published, with its bias corrections exact in float32, and normalised gradient steps; the rest is optax's.

`OPTIMIZERS` has all of them by name. `check_hyperparameters` says what is wrong with a config's values before anything is
traced; `make_optimizer` makes one that is known to take a step.
"""

import functools
import inspect
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jinv.core.types import Number

Maker = Callable[..., optax.GradientTransformation]


def adam(
    learning_rate: Number | optax.Schedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Kingma & Ba (2014), algorithm 1, as `optax.adam`, whose `1 - b2**t` in float32 is off by 1e-5 in the first steps.

    PyTorch computes the corrections in double precision; here `1 - b**t = -expm1(t log b)` keeps every digit. On the
    thesis' loop that alone brings thirty float32 steps about as near to PyTorch's as PyTorch's own rounding allows.

    Every number may be traced, as in a sweep. A float32 `b2` is then Adam with that `b2` to the last digit, `1 - b2`
    being exact; it is itself off by 1e-8 where a Python float is not.

    The variants (`eps_root`, `mu_dtype`, `nesterov`) are optax's own.
    """
    if isinstance(eps_root, jax.Array) or eps_root != 0 or mu_dtype is not None or nesterov:
        return optax.adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)

    def correction(decay: Number, count: jax.Array) -> jax.Array | float:
        if isinstance(decay, jax.Array):  # at 0 the logarithm is -inf and the correction 1, as it should be
            return -jnp.expm1(count * jnp.log(decay))
        return -jnp.expm1(count * math.log(decay)) if decay > 0 else 1.0

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.zeros_like, params))

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> Any:
        assert isinstance(state, optax.ScaleByAdamState)
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        first, second = correction(b1, count), correction(b2, count)
        updates = jax.tree.map(lambda m, v: (m / first) / (jnp.sqrt(v / second) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.chain(optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate))


class NormalizedGradientState(NamedTuple):
    """How many steps were taken, and the parameters before the first: the centre of the ball."""

    steps: jax.Array
    start: optax.Params


def normalized_gradient(
    learning_rate: float | optax.Schedule, radius: float | None = None
) -> optax.GradientTransformation:
    """Each image moves by `learning_rate` along its own gradient's direction: `x - rate g_i / |g_i|_2`.

    With `radius` it then goes back to the nearest point of the L2 ball of that radius around where it started. Both in
    the parameters' units. A vanishing gradient moves nothing. An image's path depends on no other's. Madry et al. (2018),
    for synthesis Santurkar et al. (2019), whose lengths are in units where white is 1: here they are divided by std.
    """

    def per_image(tree: optax.Params) -> jax.Array:
        return jnp.sqrt(sum(jnp.sum(x * x, axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(tree)))

    def scaled(tree: optax.Params, factor: jax.Array) -> optax.Params:
        return jax.tree.map(lambda x: x * factor.reshape(-1, *[1] * (x.ndim - 1)), tree)

    def init(params: optax.Params) -> NormalizedGradientState:
        return NormalizedGradientState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> Any:
        assert isinstance(state, NormalizedGradientState)
        length = per_image(updates)
        rate = learning_rate(state.steps) if callable(learning_rate) else learning_rate
        updates = scaled(updates, jnp.where(length > 0, -rate / jnp.where(length > 0, length, 1), 0))
        if radius is not None:
            offset = jax.tree.map(lambda p, u, s: p + u - s, params, updates, state.start)
            distance = per_image(offset)
            shrink = jnp.where(distance > radius, radius / jnp.where(distance > 0, distance, 1), 1)
            updates = jax.tree.map(lambda s, o, p: s + o - p, state.start, scaled(offset, shrink), params)
        return updates, NormalizedGradientState(state.steps + 1, state.start)

    return optax.GradientTransformation(init, update)


class _Optimizers(Mapping[str, Maker]):
    """Makers by name. What has the signature is tried when it is asked for: trying all takes a good part of a second."""

    def __getitem__(self, name: str) -> Maker:
        if name not in _candidates() or not _works(name):
            raise KeyError(name)
        return _candidates()[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in _candidates() if _works(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)


OPTIMIZERS: Mapping[str, Maker] = _Optimizers()
"""Every optimizer by name: optax's that need a learning rate alone and a gradient alone, `adam` and `normalized_gradient` ours."""


def make_optimizer(
    maker: Maker, learning_rate: Number | optax.Schedule, hyperparameters: Mapping[str, Any]
) -> optax.GradientTransformation:
    """`maker`'s optimizer, of which one step was traced (not run): `update(gradient, state, params)` on two images.

    Raises:
      ValueError: why it can't be made, or can't be used so, in one line.
    """
    params = {"a": jax.ShapeDtypeStruct((2, 4, 3, 3), jnp.float32), "b": jax.ShapeDtypeStruct((2, 5), jnp.float32)}
    try:
        # Some of optax promotes ranks, and warns; neither keeps it from working.
        with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = maker(learning_rate=learning_rate, **hyperparameters)
            state = jax.eval_shape(optimizer.init, params)
            updates, new_state = jax.eval_shape(optimizer.update, params, state, params)
    except Exception as error:  # optax has no errors of its own: whatever an operation says
        raise ValueError(" ".join(str(error).split())) from error
    if _shapes(updates) != _shapes(params):
        raise ValueError("its updates have not the shapes and types of the parameters")
    if _shapes(state) != _shapes(new_state):
        raise ValueError("its state changes shape or type from step to step")
    return optimizer


def check_hyperparameters(maker: Maker, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """They as `maker` takes them, numbers as floats, if all are hyperparameters of the right type and size.

    The learning rate is none of them. What is an array already (a sweep's number) passes. Nothing is traced.

    Raises:
      ValueError: `NAME: VALUE must be LIMIT` of the first that is not.
    """
    known = {name: p for name, p in inspect.signature(maker).parameters.items() if name != "learning_rate"}
    checked = dict(hyperparameters)
    for name, value in hyperparameters.items():
        if name not in known:
            raise ValueError(f"{name}: no such hyperparameter (known: {', '.join(known)})")
        default = known[name].default
        if isinstance(value, jax.Array) or (value is None and default is None):
            continue
        kind = _kind(name, default, known[name].annotation)
        if not kind.accepts(value):
            raise ValueError(f"{name}: {value!r} must be {kind.limit}")
        checked[name] = kind.convert(value)
    return checked


class _Kind(NamedTuple):
    limit: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any] = float


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _is_float_type(value: Any) -> bool:
    try:
        return value is not None and jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except (TypeError, ValueError):
        return False


_SWITCH = _Kind("true or false", lambda value: isinstance(value, bool), bool)
_FLOAT_TYPE = _Kind("the name of a floating-point type", _is_float_type, jnp.dtype)
_WHOLE = _Kind("a whole number of at least 0", lambda v: _is_number(v) and v >= 0 and v == int(v), int)
_DECAY = _Kind("a number from 0 up to, but not including, 1", lambda v: _is_number(v) and 0 <= v < 1)
_POSITIVE = _Kind("a finite number above 0", lambda v: _is_number(v) and v > 0)
_NUMBER = _Kind("a finite number of at least 0", lambda v: _is_number(v) and v >= 0)


def _kind(name: str, default: Any, annotation: Any) -> _Kind:
    # optax annotates any number as ArrayLike, so that names and defaults say more than annotations.
    if "dtype" in name:
        return _FLOAT_TYPE
    if isinstance(default, bool) or name.endswith("mask"):
        return _SWITCH
    if annotation is int or name in ("seed", "key"):
        return _WHOLE
    # `beta` is signum's decay, and the optimistic methods' share of the last gradient.
    if name in ("b1", "b2", "b3", "momentum", "decay", "rho") or (name == "beta" and default < 1):
        return _DECAY
    return _POSITIVE if name in ("radius", "clipping_threshold") else _NUMBER


@functools.cache
def _candidates() -> dict[str, Maker]:
    # optax's `scale_by_*` are links of a chain: one of them, `scale_by_learning_rate`, would even run.
    found = {
        name: function
        for name, function in vars(optax).items()
        if inspect.isfunction(function) and not name.startswith(("_", "scale_by_")) and _needs_a_rate_alone(function)
    }
    return found | {"adam": adam, "normalized_gradient": normalized_gradient}


def _needs_a_rate_alone(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters
    return "learning_rate" in parameters and all(
        p.default is not p.empty for name, p in parameters.items() if name != "learning_rate"
    )


@functools.cache
def _works(name: str) -> bool:
    try:
        make_optimizer(_candidates()[name], 0.1, {})
    except ValueError:
        return False
    return True


def _shapes(tree: Any) -> tuple[Any, Any]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
