"""jinv turns trained image classifiers inside out: exact conversion from PyTorch, images by model inversion in JAX.

`import jinv` imports neither jax nor torch; the names below load what they need when they are first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load": ("jinv.weights.load", "load"),
    "Classifier": ("jinv.models.classifier", "Classifier"),
    "synthesize": ("jinv.core.synthesis", "synthesize"),
    "losses": ("jinv.core.losses", None),
    "regularizers": ("jinv.core.regularizers", None),
    "augment": ("jinv.core.augment", None),
    "metrics": ("jinv.judge.metrics", None),
}

__all__ = ["__version__", *_LAZY]


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
