"""What a recipe's names stand for: terms, augmentations, parameterizations, schedules, optimizers and networks.

A `Vocabulary` is a value that is handed on. A plugin makes another one of it (`with_terms`, `extended`) and changes nothing
for anybody else.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optax
from jax import Array

from jinv.core.augment import AUGMENTATIONS
from jinv.core.objective import TERMS, term_fields
from jinv.core.optimizers import OPTIMIZERS
from jinv.core.parameterization import PARAMETERIZATIONS, Parameterization
from jinv.core.schedules import SCHEDULES
from jinv.core.types import Forward
from jinv.errors import UsageError, nearest
from jinv.models.architecture import Architecture
from jinv.models.registry import ARCHITECTURES


# Compared by identity, so that it can be part of what a program is known by.
@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Names and what they stand for, by kind."""

    terms: Mapping[str, Callable[..., Array]]
    augmentations: Mapping[str, Callable[..., Array]]
    parameterizations: Mapping[str, Callable[..., Parameterization]]
    schedules: Mapping[str, Callable[..., optax.Schedule]]
    optimizers: Mapping[str, Callable[..., optax.GradientTransformation]]
    networks: Mapping[str, Architecture]

    def with_terms(self, *functions: Callable[..., Array]) -> "Vocabulary":
        """This vocabulary and terms of one's own, by their functions' names.

        A term's positional parameters name fields of `Forward`, its keyword-only ones are hyperparameters.

        Raises:
          UsageError: a function that looks at something else.
        """
        for function in functions:
            for name in term_fields(function):
                if name not in Forward._fields:
                    raise UsageError(
                        f"{function.__name__}: a term's positional parameters are fields of Forward, not "
                        f"{name!r}{nearest(name, Forward._fields)} (known: {', '.join(Forward._fields)})"
                    )
        return self.extended(terms={function.__name__: function for function in functions})

    def extended(self, **more: Mapping[str, Any]) -> "Vocabulary":
        """This vocabulary and more, by kind: `extended(augmentations={"shear": shear})`.

        Raises:
          UsageError: a name that already stands for something else; to replace is to change what a recipe means.
        """
        for kind, names in more.items():
            if kind not in self.__dataclass_fields__:
                raise UsageError(f"vocabulary: no kind {kind!r}{nearest(kind, self.__dataclass_fields__)}")
            for name, value in names.items():
                if getattr(self, kind).get(name, value) is not value:
                    raise UsageError(f"vocabulary: {name!r} is already the name of one of the {kind}")
        return replace(self, **{kind: {**getattr(self, kind), **names} for kind, names in more.items()})

    def meaning(self, kind: str, name: str, where: str) -> Any:
        """What `name` stands for among the `kind`s ("terms", "schedules" ...).

        Raises:
          UsageError: nothing; the message begins with `where`, the config's key.
        """
        known: Mapping[str, Any] = getattr(self, kind)
        if name not in known:
            raise UsageError(f"{where}: no such {kind[:-1]} {name!r}{nearest(name, known)} (known: {', '.join(known)})")
        return known[name]


@functools.cache
def standard_vocabulary() -> Vocabulary:
    """The names that jinv brings."""
    return Vocabulary(TERMS, AUGMENTATIONS, PARAMETERIZATIONS, SCHEDULES, OPTIMIZERS, ARCHITECTURES)
