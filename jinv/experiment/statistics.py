"""Recorded statistics and the networks that they are of."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jinv.core.types import RecordedColors
from jinv.errors import ModelMismatchError, UsageError, nearest
from jinv.experiment.bind import colors_wanted
from jinv.experiment.vocabulary import Vocabulary
from jinv.models.classifier import Classifier
from jinv.models.taps import IMAGE, listening
from jinv.recipe.recipe import Recipe
from jinv.weights.statistics import Statistics


def with_statistics(members: Sequence[Classifier], files: Mapping[str, Statistics]) -> list[Classifier]:
    """The networks, each with the statistics that were recorded of it.

    Raises:
      ModelMismatchError: statistics of another network, of layers or classes that it does not have, or two files of one.
    """
    found = list(members)
    for path, statistics in files.items():
        record = statistics.record
        mine = [index for index, member in enumerate(members) if _identity(member) == _recorded_identity(statistics)]
        if not mine:
            theirs = f"{record.architecture} ({record.model_sha256:.12}, mean {_shown(record.mean)})"
            ours = ", ".join(f"{m.architecture} ({_identity(m)[1]:.12}, mean {_shown(m.mean)})" for m in members)
            raise ModelMismatchError.of("statistics", f"{path} was recorded of {theirs}, and model is {ours}")
        for index in mine:
            if found[index].taps is not None and found[index].taps.sha256:  # type: ignore[union-attr]
                raise ModelMismatchError.of("statistics", f"{path} is a second file of {record.architecture}")
            _check_layers(path, members[index], statistics)
            found[index] = found[index].with_statistics(statistics.layers, statistics.sha256, record.class_counts)
    return found


def check_classes(recipe: Recipe, member: Classifier, labels: Sequence[int]) -> None:
    """Have the terms that compare classes something of each class to compare with?

    Raises:
      UsageError: a class of which no images were recorded.
    """
    counts = member.taps.class_counts if member.taps else ()
    for name, entry in recipe.terms.items():
        by_class = counts and (name == "class_statistics" or entry.get("target") == "class")
        missing = [label for label in labels if counts[label] == 0] if by_class else []
        if missing:
            raise UsageError.of(
                f"terms.{name}", f"statistics has no images of class {missing[0]} ({member.class_names[missing[0]]!r})"
            )


def recorded_colors(recipe: Recipe, vocabulary: Vocabulary, files: Mapping[str, Statistics]) -> RecordedColors | None:
    """The colours that the recipe's files have, where a term or a parameterization asks for them.

    Raises:
      UsageError: a file that was recorded without colours; files of other images than one another's.
    """
    where = colors_wanted(recipe, vocabulary)
    if where is None or not files:
        return None
    (first, statistics), *others = files.items()
    for path, other in files.items():
        if other.colors is None:
            raise UsageError.of(
                where, f"{path} has no colours, an earlier jinv recorded it; jinv record-stats records them"
            )
    for path, other in others:
        mine, theirs = statistics.record, other.record
        if (mine.images_sha256, mine.size) != (theirs.images_sha256, theirs.size):
            raise UsageError.of(
                where, f"{first} and {path} are of other images, or of another size; whose colours are it?"
            )
    return statistics.colors


def _identity(member: Classifier) -> tuple[str, str, tuple[float, ...], tuple[float, ...]]:
    """What weights and preprocessing are known by, as a run's manifest has them."""
    return member.architecture, member.source["source"]["sha256"], _floats(member.mean), _floats(member.std)


def _recorded_identity(statistics: Statistics) -> tuple[str, str, tuple[float, ...], tuple[float, ...]]:
    record = statistics.record
    return record.architecture, record.model_sha256, record.mean, record.std


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _shown(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values) + "]"


def _check_layers(path: str, member: Classifier, statistics: Statistics) -> None:
    record = statistics.record
    classes = len(record.class_counts)
    if classes and classes != len(member.class_names):
        raise ModelMismatchError.of(
            "statistics", f"{path} has {classes} classes, {member.architecture} has {len(member.class_names)}"
        )
    side = member.min_size
    with listening() as heard:
        given = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        jax.eval_shape(member.module.apply, {k: member.variables[k] for k in ("params", "batch_stats")}, given)
    channels = {IMAGE: 3} | {name: values.shape[-1] for name, values in heard.layers.items()}
    for name, stats in statistics.layers.items():
        if name not in channels:
            hint = nearest(name, channels)
            raise ModelMismatchError.of("statistics", f"{path}: {member.architecture} has no layer {name!r:.80}{hint}")
        if stats.mean.shape != (channels[name],):
            raise ModelMismatchError.of(
                "statistics",
                f"{path}: layer {name!r} has {stats.mean.size} channels, "
                f"that of {member.architecture} has {channels[name]}",
            )
