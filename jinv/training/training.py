"""One update of a network, and the state that goes from each to the next."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jinv.core.draws import stated_draws
from jinv.core.processor import jit
from jinv.core.types import Key
from jinv.errors import UsageError, first_line
from jinv.models.classifier import Classifier
from jinv.training.adversary import attacked
from jinv.training.method import Method, answer, cross_entropy, units
from jinv.training.views import Data, order, view

ATTACK = 4
"""What an epoch's key is folded with for the attacks' draws."""


class Sums(NamedTuple):
    """Of an epoch so far: losses and right answers, of `images`."""

    loss: Array
    right: Array
    images: Array


class State(NamedTuple):
    """A training at one moment; every leaf is an array, so that it can be saved. average: of params and statistics."""

    step: Array
    params: Any
    batch_stats: Any
    optimizer: Any
    average: Any
    sums: Sums


class Program:
    """The update of a method for data of a size, compiled once for all seeds and all data of that size."""

    def __init__(self, method: Method, count: int, batch: int) -> None:
        self.method, self.count, self.batch = method, count, min(batch, count)
        self.steps_per_epoch = count // self.batch
        update = partial(_update, method, self.batch, self.steps_per_epoch)
        self.update = jit(stated_draws(update), donate_argnums=0)
        self.teacher = None if method.teacher is None else method.teacher.classifier.prepared().variables

    def check_traces(self, variables: Any) -> None:
        """One abstract update: what would fail in the first fails here.

        Raises:
          UsageError: it cannot be carried out; the first line of what its trace says.
        """
        size = self.method.classifier.input_size
        pixels = jax.ShapeDtypeStruct((self.count, size, size, 3), jnp.uint8)
        data = Data(cast(Any, pixels), cast(Any, jax.ShapeDtypeStruct((self.count,), jnp.int32)))
        state = jax.eval_shape(partial(_begin, self.method), variables)
        try:
            self.update.eval_shape(state, data, jax.eval_shape(lambda: jax.random.key(0)), self.teacher)
        except (ValueError, TypeError) as error:
            raise UsageError(f"the training cannot be carried out: {first_line(error)}") from error


class Training:
    """A program, its data and the key of its draws.

    Of an epoch whose images are no multiple of the batch the last ones are left out, others every time.
    """

    def __init__(self, program: Program, data: Data, key: Key) -> None:
        if len(data.labels) != program.count:
            raise ValueError(f"the program is for {program.count} images, there are {len(data.labels)}")
        self.program, self.data, self.key = program, data, key
        self.steps_per_epoch = program.steps_per_epoch

    def begin(self, variables: Any) -> State:
        """The state before the first update. `variables` are the network's to begin with."""
        return _begin(self.program.method, variables)

    def update(self, state: State) -> State:
        """The state after one update more; `state` is gone then."""
        after: State = self.program.update(state, self.data, self.key, self.program.teacher)
        return after

    def result(self, state: State) -> dict[str, Any]:
        """The variables of the trained network."""
        params, stats = state.average or (state.params, state.batch_stats)
        return {"params": params, "batch_stats": stats}


def _begin(method: Method, variables: Any) -> State:
    # A copy: the state's buffers are given away in every update, and these are the caller's.
    params, stats = jax.tree.map(jnp.array, (dict(variables["params"]), dict(variables["batch_stats"])))
    average = jax.tree.map(jnp.array, (params, stats)) if method.average else ()
    zero = Sums(*(jnp.zeros((), jnp.float32) for _ in Sums._fields))
    return State(jnp.zeros((), jnp.int32), params, stats, method.optimizer.init(params), average, zero)


def _update(
    method: Method, batch: int, steps_per_epoch: int, state: State, data: Data, key: Key, teacher: Any
) -> State:
    epoch, place = state.step // steps_per_epoch, state.step % steps_per_epoch
    places = jax.lax.dynamic_slice_in_dim(order(key, epoch, len(data.labels)), place * batch, batch)
    image, target = view(method.views, method.classifier, key, data, epoch, places)
    temperature = 1.0
    if method.teacher is not None:
        target, temperature = answer(method.teacher, teacher, method.classifier, image), method.teacher.temperature

    def loss(params: Any, image: Array) -> tuple[Array, tuple[Array, Any]]:
        logits, stats = training_forward(method.classifier, params, state.batch_stats, image)
        return cross_entropy(logits, target, temperature).mean(), (logits, stats)

    if method.adversary is not None:
        # Its own statistics are the batch's, as in training; the running ones are moved by the attacked images alone.
        own = jax.random.fold_in(jax.random.fold_in(key, state.step), ATTACK)
        gradient = jax.grad(lambda x: loss(state.params, x)[0])
        image = attacked(method.adversary, own, image, gradient, *units(method.classifier))
    (value, (logits, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, image)
    updates, optimizer = method.optimizer.update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    right = jnp.sum(jnp.argmax(logits, axis=1) == jnp.argmax(target, axis=1), dtype=jnp.float32)
    first = place == 0
    kept = jax.tree.map(lambda total: jnp.where(first, 0, total), state.sums)
    sums = Sums(kept.loss + value * batch, kept.right + right, kept.images + batch)
    average = _averaged(method.average, state, params, stats)
    return State(state.step + 1, params, stats, optimizer, average, sums)


def _averaged(decay: float, state: State, params: Any, stats: Any) -> Any:
    """`a <- d a + (1 - d) x`; d grows from 0.1 on, so that the beginning is forgotten."""
    if not decay:
        return ()
    now = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda a, x: now * a + (1 - now) * x, state.average, (params, stats))


def training_forward(classifier: Classifier, params: Any, batch_stats: Any, image: Array) -> tuple[Array, Any]:
    """(logits, running statistics after the batch): batch norms normalise with the batch's own statistics."""
    variables = {"params": params, "batch_stats": batch_stats}
    (logits, _), changed = classifier.module.apply(variables, image, mutable=["batch_stats"])
    return logits, changed.get("batch_stats", {})
