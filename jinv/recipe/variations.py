"""The settings of a sweep: `--vary key.path=[values]` become named recipes, grouped by the program that they share.

Settings that differ in numbers alone run side by side in one program. Anything else, such as sizes, steps, the network,
an optimizer's name, makes another program, and so another group.
"""

import copy
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinv.errors import UsageError
from jinv.recipe.overrides import parse_override, set_value
from jinv.recipe.read import check_config, read_table
from jinv.recipe.recipe import Recipe

MAXIMUM_SETTINGS = 1000

OPTIMIZER_NUMBERS = {"adam": ("b1", "b2", "eps"), "sgd": ("momentum",)}
"""Hyperparameters that an optimizer takes as traced numbers; others are settled when the program is made."""

Place = tuple[str | int, ...]
"""Where in a recipe: ("terms", "total_variation", "weight")."""


@dataclasses.dataclass(frozen=True)
class Variation:
    """One setting: its place among all, a name fit for a directory, what it changes, and the recipe that results."""

    index: int
    name: str
    changes: dict[str, Any]
    recipe: Recipe


def read_variations(
    config: str | Path, vary: Sequence[str], *, overrides: Sequence[str] = (), zipped: bool = False
) -> list[Variation]:
    """Every combination of the varied values (the last key varies fastest), or with `zipped` the first of each, the second ...

    Raises:
      StorageError: no such config. UsageError: anything wrong with a value, as `read_config`; fewer than two settings.
    """
    path = Path(config)
    table = read_table(path)
    for override in overrides:
        key, value = parse_override(override)
        set_value(table, key, value, where=f"--set {override}")
    keys = _varied(vary)
    if zipped and len({len(values) for values in keys.values()}) > 1:
        counts = ", ".join(f"{key} has {len(values)}" for key, values in keys.items())
        raise UsageError(f"--zip: every --vary needs as many values as the others: {counts}")
    combined = zip(*keys.values(), strict=True) if zipped else itertools.product(*keys.values())
    rows = list(itertools.islice(combined, MAXIMUM_SETTINGS + 1))
    if not 2 <= len(rows) <= MAXIMUM_SETTINGS:
        count = "more" if len(rows) > MAXIMUM_SETTINGS else "one setting"
        raise UsageError(f"--vary: {count}, a sweep has from 2 to {MAXIMUM_SETTINGS} settings")
    short = _short(list(keys))
    variations = []
    for index, values in enumerate(rows):
        changes = dict(zip(keys, values, strict=True))
        changed = copy.deepcopy(table)
        for key, value in changes.items():
            set_value(changed, key, copy.deepcopy(value), where=f"--vary {key}")
        words = [f"{short[key]}={value}" for key, value in changes.items()]
        name = f"{index:0{len(str(len(rows) - 1))}d}_" + re.sub(r"[^\w.=+-]+", "-", "_".join(words)).strip("-")[:80]
        where = f"{path} with " + ", ".join(f"{key}={value}" for key, value in changes.items())
        variations.append(Variation(index, name, changes, check_config(changed, where=where, folder=path.parent)))
    return variations


def groups(variations: Sequence[Variation]) -> list[list[Variation]]:
    """The variations that run in one program, group by group, in order of first appearance."""
    found: dict[str, list[Variation]] = {}
    for variation in variations:
        masked = replace_numbers(variation.recipe, lambda path, value: "a number")
        # Seeds and labels are arguments of every program.
        program = dataclasses.replace(masked, seed=0, labels=(), raw={})
        found.setdefault(repr(program), []).append(variation)
    return list(found.values())


def varied_numbers(group: Sequence[Variation]) -> dict[Place, list[float | int]]:
    """The numbers in which a group's recipes differ, one value per recipe; the others stay constants of the program."""
    numbers: dict[Place, list[float | int]] = {}
    for variation in group:
        replace_numbers(variation.recipe, lambda path, value: numbers.setdefault(path, []).append(value))
    return {path: values for path, values in numbers.items() if len(set(values)) > 1}


def replace_numbers(recipe: Recipe, replacement: Callable[[Place, float | int], Any]) -> Recipe:
    """The recipe with `replacement(path, value)` in place of every number that a program can take as an argument.

    Those are weights, learning rates, the hyperparameters of terms, augmentations and schedules that are declared as a
    `Number`, and the optimizers' decays. A whole number may be a size, or how often something is done.
    """

    def change(table: dict[str, Any], path: Place) -> dict[str, Any]:
        return {key: _changed(value, (*path, key), replacement) for key, value in table.items()}

    stages = []
    for index, stage in enumerate(recipe.stages):
        path = ("stages", index)
        rate = _changed(stage.learning_rate, (*path, "learning_rate"), replacement)
        optimizer = stage.optimizer
        if isinstance(optimizer, dict):
            optimizer = change(optimizer, (*path, "optimizer", str(optimizer.get("name"))))
        stages.append(dataclasses.replace(stage, learning_rate=rate, optimizer=optimizer))
    terms = {name: change(entry, ("terms", name)) for name, entry in recipe.terms.items()}
    augment = {name: change(entry, ("augment", name)) for name, entry in recipe.augment.items()}
    return dataclasses.replace(recipe, stages=tuple(stages), terms=terms, augment=augment)


def _changed(value: Any, path: Place, replacement: Callable[[Place, float | int], Any]) -> Any:
    if isinstance(value, dict) and "schedule" in value:
        path = (*path, "schedule", str(value["schedule"]))
        return {key: _changed(inner, (*path, key), replacement) for key, inner in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return replacement(path, value) if _is_argument(path) else value


def _is_argument(path: Place) -> bool:
    """Does a program take the number at `path` as an argument? Where a signature decides, what it calls a `Number`."""
    from jinv.core.augment import AUGMENTATIONS
    from jinv.core.objective import TERMS, hyperparameters_of
    from jinv.core.schedules import SCHEDULES
    from jinv.core.types import Number

    tables: dict[str, Any] = {"terms": TERMS, "augment": AUGMENTATIONS, "schedule": SCHEDULES}
    match path:
        case ("stages", _, "learning_rate") | ("terms", _, "weight"):
            return True
        case ("stages", _, "optimizer", str(name), str(key)):
            return key in OPTIMIZER_NUMBERS.get(name, ())
        case (*_, "schedule" as kind, str(name), str(key)) | ("terms" | "augment" as kind, str(name), str(key)):
            known = hyperparameters_of(tables[kind].get(name, _nothing))
            return key in known and known[key].annotation == Number
    return False


def _nothing() -> None:
    """Stands for a name that is not known; `experiment.check_recipe` says so."""


def _varied(vary: Sequence[str]) -> dict[str, list[Any]]:
    keys: dict[str, list[Any]] = {}
    example = "terms.total_variation.weight=[1e-3,1e-2]"
    for text in vary:
        key, values = parse_override(text, "--vary", example)
        if not isinstance(values, list) or not values:
            raise UsageError(f"--vary {text}: {values!r} must be a list of values, for example --vary {example}")
        if key in keys:
            raise UsageError(f"--vary {key}: given twice; put all its values into one list")
        repeated = [value for i, value in enumerate(values) if value in values[:i]]
        if repeated:
            raise UsageError(f"--vary {text}: the value {repeated[0]!r} appears twice")
        keys[key] = values
    if not keys:
        raise UsageError(f"sweep: what is varied? For example: --vary {example}")
    return keys


def _short(keys: list[str]) -> dict[str, str]:
    """Each key's last words, as few as tell it from the others: terms.total_variation.weight -> weight."""

    def endings(key: str) -> Iterator[str]:
        words = key.split(".")
        yield from (".".join(words[start:]) for start in range(len(words) - 1, -1, -1))

    return {
        key: next(end for end in endings(key) if end == key or not any(o != key and f".{o}".endswith(f".{end}") for o in keys))
        for key in keys
    }  # fmt: skip
