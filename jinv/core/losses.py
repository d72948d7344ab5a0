"""Terms that need labels: they tie an image to its class."""

import jax
import jax.numpy as jnp

from jinv.core.types import Labels, Logits, Scalar


def cross_entropy(logits: Logits, labels: Labels) -> Scalar:
    """Mean cross-entropy of the softmax against the chosen labels.

    `-1/N sum_i log softmax(logits_i)[labels_i]`. In nats. Couples no images, beyond the factor 1/N. Zero where every
    chosen class has probability one. Thesis, eq. 3.1; `torch.nn.CrossEntropyLoss`.
    """
    return jnp.mean(cross_entropy_per_image(logits, labels))


def class_logit(logits: Logits, labels: Labels) -> Scalar:
    """Minus the chosen class' logit, mean over images: raises it, whatever the other classes do.

    `-1/N sum_i logits_i[labels_i]`. In logits. Couples no images, beyond the factor 1/N. Has no lower end. The objective
    of feature visualization, Olah et al. (2017); MACO, Fel et al. (2023).
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=1))


def cross_entropy_per_image(logits: Logits, labels: Labels) -> jax.Array:
    """Each image's own cross-entropy, in nats, shape (N,)."""
    # At least float32: a bfloat16 log-softmax over 1,000 classes loses the loss of a well-classified image.
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
