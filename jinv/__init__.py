"""jinv turns trained image classifiers inside out: exact conversion from PyTorch, images by model inversion in JAX.

`import jinv` imports neither jax nor torch; the names below load what they need when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinv.core import augment, colors, losses, parameterization, regularizers, schedules
    from jinv.core.augment import Augmentation
    from jinv.core.loop import Resume, Snapshot
    from jinv.core.objective import Term
    from jinv.core.step import Stage
    from jinv.core.synthesis import Options, clip_bounds, synthesize
    from jinv.core.types import Forward, Image, NormStats, Number, Scalar
    from jinv.errors import JinvError
    from jinv.experiment.plugins import load_plugins
    from jinv.experiment.shared import Shared
    from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
    from jinv.judge import metrics
    from jinv.models.classifier import Classifier
    from jinv.recipe.read import read_config
    from jinv.recipe.recipe import Recipe
    from jinv.record.run import RunRecord, open_run
    from jinv.runs.evaluate import evaluate
    from jinv.runs.in_memory import Result, run
    from jinv.students.train import train
    from jinv.weights.load import load

__version__ = "0.1.0"

_LAZY = {
    "Augmentation": ("jinv.core.augment", "Augmentation"),
    "Classifier": ("jinv.models.classifier", "Classifier"),
    "Forward": ("jinv.core.types", "Forward"),
    "Image": ("jinv.core.types", "Image"),
    "JinvError": ("jinv.errors", "JinvError"),
    "NormStats": ("jinv.core.types", "NormStats"),
    "Number": ("jinv.core.types", "Number"),
    "Options": ("jinv.core.synthesis", "Options"),
    "Recipe": ("jinv.recipe.recipe", "Recipe"),
    "Result": ("jinv.runs.in_memory", "Result"),
    "Resume": ("jinv.core.loop", "Resume"),
    "RunRecord": ("jinv.record.run", "RunRecord"),
    "Scalar": ("jinv.core.types", "Scalar"),
    "Shared": ("jinv.experiment.shared", "Shared"),
    "Snapshot": ("jinv.core.loop", "Snapshot"),
    "Stage": ("jinv.core.step", "Stage"),
    "Term": ("jinv.core.objective", "Term"),
    "Vocabulary": ("jinv.experiment.vocabulary", "Vocabulary"),
    "attribute": ("jinv.runs.attribution", "attribute"),
    "augment": ("jinv.core.augment", None),
    "colors": ("jinv.core.colors", None),
    "clip_bounds": ("jinv.core.synthesis", "clip_bounds"),
    "evaluate": ("jinv.runs.evaluate", "evaluate"),
    "load": ("jinv.weights.load", "load"),
    "load_plugins": ("jinv.experiment.plugins", "load_plugins"),
    "losses": ("jinv.core.losses", None),
    "metrics": ("jinv.judge.metrics", None),
    "open_run": ("jinv.record.run", "open_run"),
    "parameterization": ("jinv.core.parameterization", None),
    "read_config": ("jinv.recipe.read", "read_config"),
    "regularizers": ("jinv.core.regularizers", None),
    "run": ("jinv.runs.in_memory", "run"),
    "schedules": ("jinv.core.schedules", None),
    "standard_vocabulary": ("jinv.experiment.vocabulary", "standard_vocabulary"),
    "synthesize": ("jinv.core.synthesis", "synthesize"),
    "train": ("jinv.students.train", "train"),
}

__all__ = [
    "Augmentation",
    "Classifier",
    "Forward",
    "Image",
    "JinvError",
    "NormStats",
    "Number",
    "Options",
    "Recipe",
    "Result",
    "Resume",
    "RunRecord",
    "Scalar",
    "Shared",
    "Snapshot",
    "Stage",
    "Term",
    "Vocabulary",
    "__version__",
    "attribute",
    "augment",
    "clip_bounds",
    "colors",
    "evaluate",
    "load",
    "load_plugins",
    "losses",
    "metrics",
    "open_run",
    "parameterization",
    "read_config",
    "regularizers",
    "run",
    "schedules",
    "standard_vocabulary",
    "synthesize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'jinv' has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
