"""Functions of one's own, from a file or an installed module: `load_plugins` makes the vocabulary that has them too.

Loaded are, in this order: installed packages' entry points of the group `jinv.plugins`, what the environment variable
JINV_PLUGINS names (separated as PATH is), and what was named here (`--plugin`). A plugin is executed, so that none is ever
taken from a config. The same signatures register what is in it that register jinv's own; only what the module itself
defines counts.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import optax

from jinv.core.augment import is_augmentation
from jinv.core.objective import is_scalar, is_term, taken_by_config
from jinv.core.parameterization import Parameterization, is_parameterization
from jinv.core.projections import is_projection
from jinv.core.schedules import is_schedule
from jinv.core.signatures import own_functions, positional, returned
from jinv.core.types import Forward
from jinv.errors import JinvError, UsageError, nearest
from jinv.experiment.plugin_names import OPTION, installed_plugins, is_module, named_plugins, read_source
from jinv.experiment.vocabulary import Plugin, Vocabulary, standard_vocabulary
from jinv.images.metrics import is_metric
from jinv.recipe.recipe import Recipe
from jinv.recipe.training import Schooling
from jinv.record.manifest import PluginUse

KINDS: dict[str, Callable[[Callable[..., Any]], bool]] = {
    "terms": is_term,
    "augmentations": is_augmentation,
    "parameterizations": is_parameterization,
    "projections": is_projection,
    "schedules": is_schedule,
    "metrics": is_metric,
}
"""What a function of a plugin can be, by kind, and the predicate on its signature."""

FORMS = (
    "a term is (fields of Forward, *, ...) -> jinv.Scalar, an augmentation (key, image, *, ...), a parameterization "
    "(size, *, ...) -> Parameterization, a projection (image, *, ...) -> jinv.Image, a schedule (steps, *, ...) -> "
    "optax.Schedule, a metric (pixels, *, ...) -> float"
)


def load_plugins(*named: str | os.PathLike[str]) -> Vocabulary:
    """jinv's vocabulary with the plugins that are installed, those of JINV_PLUGINS, and those named here.

    Args:
      named: paths of .py files, or names of importable modules.

    Raises:
      UsageError: one cannot be executed, has nothing that a config could name, or a name that is taken; or a function says
        too little of itself. StorageError: no such file.
    """
    vocabulary = standard_vocabulary()
    for name, origin in (*installed_plugins(), *named_plugins(*named)):
        try:
            vocabulary = vocabulary.with_plugin(read_plugin(name, origin))
        except JinvError as error:
            # Of what nobody named on the command line it is said where it came from.
            raise error if origin == OPTION else type(error)(f"{error} (from {origin})") from error
    return vocabulary


def read_plugin(name: str, origin: str = OPTION) -> Plugin:
    """A file or module executed, and what is in it; raises as `load_plugins`."""
    module, file, digest = _module(name) if is_module(name) else _file(name)
    functions = own_functions(vars(module), module.__name__)
    for function in functions.values():
        _resolve(function, name)
    found: dict[str, dict[str, Callable[..., Any]]] = {kind: {} for kind in KINDS}
    passed_over = dict(_wrapped(module, name))
    for own, function in functions.items():
        kind = next((kind for kind, is_one in KINDS.items() if is_one(function)), None)
        if kind is not None:
            if (taken := taken_by_config(kind, function)) is not None:
                raise UsageError(f"{_place(function, name)}: {own}: {taken}; call it otherwise")
            found[kind][own] = function
        else:
            passed_over[own] = f"{_place(function, name)}: {own}: {_why_not(function, name)}"
    if not any(found.values()):
        why = next(iter(passed_over.values()), f"{name}: has no public function")
        raise UsageError(f"{why}; {name} has nothing that a config could name: {FORMS}")
    return Plugin(name, origin, file, digest, {kind: names for kind, names in found.items() if names}, passed_over)


def _file(name: str) -> tuple[ModuleType, str, str]:
    """A file executed: the module, the file and the sha256 of what was executed."""
    path, source = Path(name), read_source(name)
    digest = hashlib.sha256(source).hexdigest()
    # By what it says, not where it lies: the same text is the same functions, and so the same programs.
    module_name = f"jinv_plugin_{digest[:24]}"
    if module_name in sys.modules:
        return sys.modules[module_name], str(path), digest
    module = ModuleType(module_name)
    module.__file__ = str(path.resolve())
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        # Not by the import system, which would leave compiled files beside the user's.
        exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        del sys.modules[module_name]
        _refuse(error, name, module.__file__)
        raise
    return module, str(path), digest


def find_module(name: str) -> ModuleSpec | None:
    """Where the module of that name would come from, None where there is none; packages around it are executed.

    Raises:
      UsageError: one of these fails.
    """
    try:
        return importlib.util.find_spec(name)
    except ValueError:  # a module without a specification, such as __main__
        return None
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            return None
        _refuse(error, name, None)
        raise


def _module(name: str) -> tuple[ModuleType, str, str]:
    """An importable module: it, its file and the file's sha256."""
    spec = find_module(name)
    if spec is None:
        hint = f"; did you mean the file {name}.py?" if Path(f"{name}.py").is_file() else ""
        raise UsageError(
            f"{name}: no module of that name can be imported as a plugin, and a file's name ends in .py{hint}"
        )
    if spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(f"{name}: has no file of its own; name a module of it")
    try:
        digest = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
        return importlib.import_module(name), spec.origin, digest
    except BaseException as error:
        _refuse(error, name, spec.origin)
        raise


def _refuse(error: BaseException, name: str, file: str | None) -> None:
    """Raise the line that says where a plugin's own code failed; what is no mistake of its (Ctrl-C) is left.

    Raises:
      UsageError: of every other.
    """
    if not isinstance(error, Exception | SystemExit):
        return
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = frames[-1].lineno if frames else error.lineno if isinstance(error, SyntaxError) else None
    where = f"{name}:{line}" if line else name
    said = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    raise UsageError(f"{where}: the plugin cannot be executed: {type(error).__name__}: {said:.300}") from error


def _resolve(function: Callable[..., Any], name: str) -> None:
    """Annotations that are texts (`from __future__ import annotations`) become what they stand for."""
    try:
        function.__annotations__ = inspect.get_annotations(function, eval_str=True)
    except Exception as error:
        raise UsageError(
            f"{_place(function, name)}: {function.__name__}: an annotation cannot be read: {type(error).__name__}: {error}"
        ) from error


def _why_not(function: Callable[..., Any], name: str) -> str:
    """Why a public function is nothing that a config can name.

    Raises:
      UsageError: it looks like something that it does not say it is.
    """
    names, gives, empty = positional(function), returned(function), inspect.Signature.empty
    where = f"{_place(function, name)}: {function.__name__}"
    looks = bool(names) and set(names) <= set(Forward._fields)
    others: dict[tuple[str, ...], str] = {
        ("image",): "jinv.Scalar (a term) or -> jinv.Image (a projection)",
        ("pixels",): "float (a metric of a finished picture) or -> jinv.Scalar (a term)",
        ("size",): "jinv.parameterization.Parameterization",
        ("steps",): "optax.Schedule",
    }
    missing = others.get(names, "jinv.Scalar" if looks else "")
    if gives is empty and missing:
        raise UsageError(
            f"{where}({', '.join(names)}): what it returns is not annotated; write -> {missing}, or begin its name with "
            "an underscore if a config is not to name it"
        )
    if gives is float and names[:1] == ("pixels",):
        raise UsageError(
            f"{where}: returns a float as a metric, but {names[1]!r} stands in front of the *: a metric is (pixels, *, "
            "hyperparameters)"
        )
    if is_scalar(gives):
        strange = next((one for one in names if one not in Forward._fields), None)
        said = (
            f"looks at {strange!r}, which is no field of Forward{nearest(strange, Forward._fields)} (known: "
            f"{', '.join(Forward._fields)}); hyperparameters stand after a *"
            if strange
            else "looks at nothing; a term's positional parameters are fields of Forward"
        )
        raise UsageError(f"{where}: returns a Scalar as a term, but {said}; a helper's name begins with an underscore")
    for kind, annotation, wanted in (
        ("parameterization", Parameterization, "size"),
        ("schedule", optax.Schedule, "steps"),
    ):
        if gives == annotation:
            raise UsageError(f"{where}: a {kind} is ({wanted}, *, hyperparameters), not ({', '.join(names)}, ...)")
    if names == ("pixels",):
        return f"is no metric and no term, for it returns {_annotation(gives)}; a metric is annotated -> float, a term -> jinv.Scalar"
    if looks:
        metric = "; a metric is (pixels, *, ...) -> float" if gives is float else ""
        return f"is no term, for it returns {_annotation(gives)}; a term is annotated -> jinv.Scalar{metric}"
    return "is nothing that a config could name"


def _wrapped(module: ModuleType, name: str) -> Iterator[tuple[str, str]]:
    """Public functions that a decorator made something else of, such as `jax.jit`."""
    for own, value in vars(module).items():
        inner = getattr(value, "__wrapped__", None)
        ours = getattr(value, "__module__", None) == module.__name__
        if not own.startswith("_") and ours and inspect.isfunction(inner) and not inspect.isfunction(value):
            kind = type(value).__name__
            yield own, f"{_place(inner, name)}: {own}: is a {kind}, no function; take its decorator off (jinv compiles)"


def _place(function: Callable[..., Any], name: str) -> str:
    """ "my_prior.py:12", by the name that was given."""
    code: Any = getattr(inspect.unwrap(function), "__code__", None)
    return f"{name}:{code.co_firstlineno}" if code else name


def _annotation(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def used_plugins(recipe: Recipe, vocabulary: Vocabulary) -> tuple[PluginUse, ...]:
    """The plugins without which a recipe would mean something else, and what it takes from each."""
    return _plugins_of(_names(recipe), vocabulary)


def used_in_training(recipe: Schooling, vocabulary: Vocabulary) -> tuple[PluginUse, ...]:
    """As `used_plugins`, of a training."""
    names = [("augmentations", name) for name in recipe.augment]
    for table in (recipe.learning_rate, recipe.optimizer, recipe.augment):
        names += _schedules(table)
    return _plugins_of(names, vocabulary)


def _plugins_of(names: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> tuple[PluginUse, ...]:
    asked = sorted(set(names))
    found = {
        plugin: tuple(f"{kind}.{name}" for kind, name in asked if vocabulary.origin(kind, name) is plugin)
        for plugin in vocabulary.plugins
    }
    return tuple(
        PluginUse(plugin=plugin.name, sha256=plugin.sha256, names=names) for plugin, names in found.items() if names
    )


def _names(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(kind, name) of everything in a recipe that a plugin may have brought."""
    yield from (("terms", name) for name in recipe.terms)
    yield from (("augmentations", name) for name in recipe.augment)
    yield from (("projections", name) for name in recipe.project)
    yield from (("metrics", name) for name in recipe.metric)
    for stage in recipe.stages:
        spec = stage.parameterization
        yield "parameterizations", spec["name"] if isinstance(spec, dict) else spec
        for table in (stage.learning_rate, stage.low_pass, stage.optimizer):
            yield from _schedules(table)
    for tables in (recipe.terms, recipe.augment, recipe.project):
        yield from _schedules(tables)


def _schedules(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("schedule"), str):
            yield "schedules", value["schedule"]
        for inner in value.values():
            yield from _schedules(inner)
