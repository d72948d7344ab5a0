"""What a recipe's names stand for: terms, augmentations, parameterizations, projections, schedules, metrics, optimizers, networks.

A `Vocabulary` is a value that is handed on. A plugin makes another one of it (`jinv.experiment.plugins`, `with_terms`,
`extended`) and changes nothing for anybody else.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optax
from jax import Array

from jinv.core.augment import AUGMENTATIONS
from jinv.core.objective import TERMS, taken_by_config, term_fields
from jinv.core.optimizers import OPTIMIZERS
from jinv.core.parameterization import PARAMETERIZATIONS, Parameterization
from jinv.core.schedules import SCHEDULES
from jinv.core.types import Forward
from jinv.errors import UsageError, nearest
from jinv.images.metrics import MEASURES
from jinv.models.architecture import Architecture
from jinv.models.registry import ARCHITECTURES


@dataclass(frozen=True, eq=False)
class Plugin:
    """A module of somebody's own, executed.

    name: as it was given, a path or a module's name. origin: who named it, such as "--plugin". sha256: of its file.
    functions: by kind and name. passed_over: public functions of it that are nothing a config can name, and why, by name.
    """

    name: str
    origin: str
    file: str
    sha256: str
    functions: Mapping[str, Mapping[str, Callable[..., Any]]]
    passed_over: Mapping[str, str]


# Compared by identity, so that it can be part of what a program is known by.
@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Names and what they stand for, by kind; and the plugins that brought some of them."""

    terms: Mapping[str, Callable[..., Array]]
    augmentations: Mapping[str, Callable[..., Array]]
    parameterizations: Mapping[str, Callable[..., Parameterization]]
    schedules: Mapping[str, Callable[..., optax.Schedule]]
    optimizers: Mapping[str, Callable[..., optax.GradientTransformation]]
    networks: Mapping[str, Architecture]
    projections: Mapping[str, Callable[..., Array]] = field(default_factory=dict, kw_only=True)
    metrics: Mapping[str, Callable[..., float]] = field(default_factory=dict, kw_only=True)
    plugins: tuple[Plugin, ...] = field(default=(), kw_only=True)

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
          UsageError: a name that already stands for something else; to replace is to change what a recipe means. A function
          with a hyperparameter that no config could set.
        """
        kinds = [kind for kind in self.__dataclass_fields__ if kind != "plugins"]
        for kind, names in more.items():
            if kind not in kinds:
                raise UsageError(f"vocabulary: no kind {kind!r}{nearest(kind, kinds)}")
            for name, value in names.items():
                if getattr(self, kind).get(name, value) is not value:
                    raise UsageError(f"vocabulary: {name!r} is already the name of one of the {kind}")
                if (taken := taken_by_config(kind, value)) is not None:
                    raise UsageError(f"vocabulary: {name!r}: {taken}; call it otherwise")
        joined: dict[str, Any] = {kind: {**getattr(self, kind), **names} for kind, names in more.items()}
        return replace(self, **joined)

    def with_plugin(self, plugin: Plugin) -> "Vocabulary":
        """This vocabulary and what a plugin brings; one whose file is that of another brings nothing new but who names it.

        Raises:
          UsageError: a name that is taken, by jinv or by another plugin.
        """
        if any(known.sha256 == plugin.sha256 for known in self.plugins):
            named = (replace(p, origin=plugin.origin) if p.sha256 == plugin.sha256 else p for p in self.plugins)
            return replace(self, plugins=tuple(named))
        for kind, names in plugin.functions.items():
            for name in names:
                if name in getattr(self, kind):
                    other = self.origin(kind, name)
                    raise UsageError(
                        f"{plugin.name}: {name!r} is already the name of one of the {kind}, "
                        f"{'of the plugin ' + other.name if other else 'of jinv'}; call it otherwise"
                    )
        return replace(self.extended(**plugin.functions), plugins=(*self.plugins, plugin))

    def origin(self, kind: str, name: str) -> Plugin | None:
        """The plugin that brought a name, None where it is jinv's own or was added in Python."""
        return next((plugin for plugin in self.plugins if name in plugin.functions.get(kind, ())), None)

    def meaning(self, kind: str, name: str, where: str) -> Any:
        """What `name` stands for among the `kind`s ("terms", "schedules" ...).

        Raises:
          UsageError: nothing; the message begins with `where`, the config's key.
        """
        known: Mapping[str, Any] = getattr(self, kind)
        if name not in known:
            why = next((f"; {p.passed_over[name]}" for p in self.plugins if name in p.passed_over), "")
            hint = "" if why else nearest(name, known)
            raise UsageError.of(where, f"no such {kind[:-1]} {name!r}{hint} (known: {', '.join(known) or 'none'}){why}")
        return known[name]


@functools.cache
def standard_vocabulary() -> Vocabulary:
    """The names that jinv brings."""
    return Vocabulary(TERMS, AUGMENTATIONS, PARAMETERIZATIONS, SCHEDULES, OPTIMIZERS, ARCHITECTURES, metrics=MEASURES)
