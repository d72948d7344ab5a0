"""Classifier: an architecture, its variables and its preprocessing, as one value with a pure forward."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jinv.core.image_stats import image_stats
from jinv.core.pixels import to_uint8
from jinv.core.types import Forward, NormStats, RecordedStats
from jinv.errors import ModelMismatchError, UsageError
from jinv.models.layers import Stats, prepare
from jinv.models.ops import at_least_float32, global_average_pool, moments
from jinv.models.origins import origin_of, training_of
from jinv.models.taps import IMAGE, Heard, Taps, listening

Clamp = Literal["straight-through"] | bool


# Compared and hashed by identity: arrays have no truth value, and jit can take a classifier as a static argument.
@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network.

    Images are float32 NHWC in the network's standardised units, `(pixel - mean) / std` with pixels in [0, 1].
    `clamp` is what the robustness package does to pixels outside [0, 1] before the network sees them: True clips (zero
    gradient outside), "straight-through" clips and lets the gradient pass, False leaves them. `compute_dtype` is the
    activations', None for the image's own; see `precision.with_precision`. A network without a head has no class names and
    gives logits of no columns: its statistics are what it is for. `student` is a second network that is shown the
    same images, see `with_student`. `taps` is what terms look at inside of it, see `with_statistics`, `with_features`.
    """

    architecture: str
    module: nn.Module
    variables: Mapping[str, Any] = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int
    min_size: int
    class_names: tuple[str, ...] = field(repr=False)
    source: Mapping[str, Any] = field(default_factory=dict, repr=False)
    clamp: Clamp = False
    compute_dtype: Any = None
    student: "Classifier | None" = None
    taps: Taps | None = None

    @property
    def family(self) -> str:
        """The architecture's family: the class of `jinv.models` that defines it, or that it is a variant of."""
        return family_name(type(self.module))

    @property
    def training(self) -> str | None:
        """The pipeline that it came out of: what its file says, or what is known of the checkpoint; None is unknown."""
        return training_of(self.source.get("training"), self.source.get("source_sha256"))

    @property
    def accuracy(self) -> float | None:
        """Its published top-1 share of real images, None where it is not known."""
        origin = origin_of(self.source.get("source_sha256"))
        accuracy: float | None = origin.accuracy if origin else self.source.get("source", {}).get("accuracy")
        return accuracy

    def preprocess(self, pixels: np.ndarray | Array) -> Array:
        """uint8 (N, H, W, 3) to float32 in network units; standardises only, never resizes."""
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise UsageError(f"preprocess takes uint8 (N, H, W, 3), not {pixels.dtype} {pixels.shape}")
        return (jnp.asarray(pixels, jnp.float32) / 255 - self._channels(self.mean)) / self._channels(self.std)

    def prepared(self) -> "Classifier":
        """The same classifier with what long runs gain from, see `layers.prepare`; not for saving."""
        # What is derived is for float32 kernels alone.
        variables = self.variables if self.compute_dtype else prepare(self.module, self.variables, self.min_size)
        prepared = replace(self, variables=variables)
        return prepared if self.student is None else prepared.with_student(self.student.prepared())

    def with_student(self, student: "Classifier") -> "Classifier":
        """The same classifier, whose `forward` also gives `student_logits`: what `student` says of the same image.

        The image is restated in the student's own units. Its variables are carried in `variables["student"]`.

        Raises:
          ModelMismatchError: the two networks' class names differ.
        """
        self.check_classes(student, "student")
        variables = {**self.variables, "student": student.variables}
        return replace(self, variables=variables, student=student, min_size=max(self.min_size, student.min_size))

    def with_statistics(
        self, recorded: Mapping[str, RecordedStats], sha256: str, class_counts: tuple[int, ...] = ()
    ) -> "Classifier":
        """The same classifier, whose `forward` compares the layers of `recorded`, in network order, with what was recorded.

        `norm_stats` are then those layers', instead of its batch norms'; `layers` has each image's own statistics. Without
        layers nothing is compared, and nothing changes. Carried in `variables["recorded"]`. sha256, class_counts: as `Taps` has them.
        """
        taps = replace(self.taps or Taps(), layers=tuple(recorded), sha256=sha256, class_counts=class_counts)
        return replace(self, variables={**self.variables, "recorded": dict(recorded)}, taps=taps)

    def with_features(self) -> "Classifier":
        """The same classifier, whose `forward` gives `features`, what its head is given."""
        return replace(self, taps=replace(self.taps or Taps(), features=True))

    def check_classes(self, other: "Classifier", key: str) -> None:
        """Refuse a network, which the config names under `key`, of other classes than this one's.

        Raises:
          ModelMismatchError: the two networks' class names differ.
        """
        if other.class_names == self.class_names:
            return
        pairs = zip(self.class_names, other.class_names, strict=False)
        differing = [f"{i} is {a!r} and {b!r}" for i, (a, b) in enumerate(pairs) if a != b]
        counts = f"{len(self.class_names)} and {len(other.class_names)} classes"
        raise ModelMismatchError.of(
            key,
            f"{other.architecture}'s classes are not those of {self.architecture}: "
            + (f"class {differing[0]}" if differing else counts),
        )

    @property
    def can_remat(self) -> bool:
        """Whether it is built of blocks that can be computed again, and nothing looks at what is inside."""
        return hasattr(self.module, "remat") and not (self.taps and self.taps.layers)

    def rematerialised(self) -> "Classifier":
        """The same classifier, whose gradient computes every block a second time instead of keeping what is inside.

        Raises:
          UsageError: a network that is not built of blocks (VGG), or whose layers terms look at.
        """
        if not self.can_remat:
            inside = hasattr(self.module, "remat")
            why = "is listened to inside of its blocks (statistics)" if inside else "has no blocks to compute again"
            raise UsageError.of("remat", f"{self.architecture} {why}; image.chunk saves memory too")
        return replace(self, module=self.module.clone(remat=True))

    def to_uint8(self, image: np.ndarray | Array) -> np.ndarray:
        """Network units to uint8 pixels, clipped and rounded; inverts `preprocess` exactly."""
        return to_uint8(np.asarray(image, np.float32), self.mean, self.std)

    def forward(
        self,
        variables: Mapping[str, Any],
        image: np.ndarray | Array,
        labels: Array | None = None,
        student_logits: Array | None = None,
    ) -> Forward:
        """Logits and batch-norm statistics of (N, H, W, 3), any height and width of at least `min_size` pixels."""
        image = jnp.asarray(image)
        if min(image.shape[1:3]) < self.min_size:
            height, width = image.shape[1:3]
            raise UsageError(f"image size {height}x{width}: {self.architecture} needs at least {self.min_size} pixels")
        if self.student is not None:
            variables = dict(variables)
            student_logits = self.student.forward(variables.pop("student"), self.restated(image, self.student)).logits
        seen = self._clamped(image)
        if self.compute_dtype is not None:
            seen = seen.astype(self.compute_dtype)
        pixels = image * self._channels(self.std, image.dtype) + self._channels(self.mean, image.dtype)
        if self.taps is not None:
            result = self._listened(self.taps, dict(variables), seen)
            return result._replace(image=image, labels=labels, student_logits=student_logits, pixels=pixels)
        logits, norm_stats = cast(tuple[Array, Stats], self.module.apply(variables, seen))
        return Forward(image, logits.astype(at_least_float32(logits)), labels, norm_stats, student_logits, pixels)

    def _listened(self, taps: Taps, variables: dict[str, Any], seen: Array) -> Forward:
        """The forward of what the network sees, with what `taps` are on."""
        recorded: dict[str, RecordedStats] = variables.pop("recorded", {})
        with listening(taps.layers) as heard:
            logits, norm_stats = cast(tuple[Array, Stats], self.module.apply(variables, seen))
        heard.layers[IMAGE] = seen
        layers, targets = [], [recorded[name] for name in taps.layers]
        for name, target in zip(taps.layers, targets, strict=True):
            wanted = None if target.quantiles is None else target.quantiles.shape[0]
            layers.append(image_stats(heard.layers[name], wanted))
        if taps.layers:
            values = [heard.layers[name] for name in taps.layers]
            norm_stats = tuple(
                NormStats(*moments(x), target.mean, target.var, count=x.size // x.shape[-1])
                for x, target in zip(values, targets, strict=True)
            )
        return Forward(
            seen,
            logits.astype(at_least_float32(logits)),
            None,
            norm_stats,
            layers=tuple(layers),
            recorded=tuple(targets),
            features=features_of(self.architecture, heard) if taps.features else None,
        )

    def restated(self, image: Array, other: "Classifier") -> Array:
        """An image in this network's units, in those of `other`."""
        if (self.mean, self.std) == (other.mean, other.std):
            return image
        own, theirs = ((self._channels(c.mean, image.dtype), self._channels(c.std, image.dtype)) for c in (self, other))
        return (image * own[1] + (own[0] - theirs[0])) / theirs[1]

    def _clamped(self, image: Array) -> Array:
        if self.clamp is False:
            return image
        low, high = (
            (jnp.asarray(bound, image.dtype) - self._channels(self.mean, image.dtype))
            / self._channels(self.std, image.dtype)
            for bound in (0, 1)
        )
        # Gradient one on the bounds themselves, as torch's clamp; jnp.clip has one half there.
        clipped = jnp.where(image < low, low, jnp.where(image > high, high, image))
        return image + lax.stop_gradient(clipped - image) if self.clamp == "straight-through" else clipped

    @staticmethod
    def _channels(values: tuple[float, ...], dtype: Any = jnp.float32) -> Array:
        return jnp.asarray(values, dtype).reshape(1, 1, 1, -1)


def family_name(network: type[nn.Module]) -> str:
    """The name of a network's class; of one that is derived from another network, which is a variant, of that one."""
    line = network.__mro__
    return line[line.index(nn.Module) - 1].__name__


def features_of(architecture: str, heard: Heard) -> Array:
    """(N, features): what the last dense layer was given, the mean over the map where the head is a convolution.

    Raises:
      ValueError: a network without a head.
    """
    if not heard.head_inputs:
        raise ValueError(f"{architecture}: no head, hence no features before it")
    given = heard.head_inputs[-1]
    return given if given.ndim == 2 else global_average_pool(given)
