"""Metrics of finished pictures by name: a config's `[metric.NAME]` tables, and those of plugins, with hyperparameters bound."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jinv.core.objective import hyperparameters_of
from jinv.errors import UsageError
from jinv.experiment.plugin_names import OPTION, VARIABLE
from jinv.experiment.values import bind_hyperparameters
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.images.metrics import MEASURES, Metric

Tables = Mapping[str, Mapping[str, Any]]
"""`[metric]` of a config: hyperparameters by the metric's name."""


def bind_metrics(tables: Tables, vocabulary: Vocabulary | None = None) -> dict[str, Metric]:
    """What a config names, in its order.

    Raises:
      UsageError: an unknown name or hyperparameter, a missing one, or one of jinv's own, which need no table.
    """
    vocabulary = vocabulary or standard_vocabulary()
    return {name: _bound(name, dict(given), vocabulary) for name, given in tables.items()}


def metrics_of_plugins(vocabulary: Vocabulary) -> dict[str, Metric]:
    """All that plugins bring, none of whose hyperparameters is given."""
    found = {}
    for plugin in vocabulary.plugins:
        for name, function in plugin.functions.get("metrics", {}).items():
            found[name] = Metric(name, function, {}, plugin.name, plugin.sha256)
    return found


def with_named(tables: Tables, vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    """These tables, and a table at its defaults for every other metric of a plugin that a person named; what installed
    packages bring is asked for by a table alone."""
    named = [plugin for plugin in vocabulary.plugins if plugin.origin in (OPTION, VARIABLE)]
    brought: dict[str, dict[str, Any]] = {name: {} for plugin in named for name in plugin.functions.get("metrics", ())}
    return brought | {name: dict(given) for name, given in tables.items()}


def try_metric(metric: Metric, height: int, width: int) -> None:
    """Ask a metric of a random picture (height, width, 3), before images are made for it; raises as `Metric.of`."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    metric.of(pixels, f"a random picture of {height} x {width} px")


def _bound(name: str, given: dict[str, Any], vocabulary: Vocabulary) -> Metric:
    where = f"metric.{name}"
    if name in MEASURES:
        raise UsageError.of(where, "is jinv's own, which every evaluation has; leave the table out")
    function = vocabulary.meaning("metrics", name, where)
    known = hyperparameters_of(function)
    for key, value in given.items():
        if isinstance(value, dict) and key in known:
            raise UsageError.of(
                f"{where}.{key}", "a metric is of finished pictures and knows no steps: no schedule, a value"
            )
    bound = bind_hyperparameters(where, given, known, 1, vocabulary)
    plugin = vocabulary.origin("metrics", name)
    missing = [key for key, p in known.items() if p.default is p.empty and key not in bound]
    if missing:
        whose = f" of {plugin.name}" if plugin else ""
        raise UsageError.of(f"{where}.{missing[0]}", f"needed by the metric {name!r}{whose}")
    return Metric(name, function, bound, plugin.name if plugin else "", plugin.sha256 if plugin else None)
