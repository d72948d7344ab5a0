"""The settings of a sweep: `--vary key.path=[values]`, or a range, become named recipes, grouped by the program that they share.

Settings that differ in numbers alone run side by side in one program. Anything else, such as sizes, steps, the network,
an optimizer's name, makes another program, and so another group.
"""

import copy
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinv.errors import UsageError
from jinv.recipe.checking import shown
from jinv.recipe.overrides import changed_by, parse_override, set_value, split_override
from jinv.recipe.ranges import is_range, points_of
from jinv.recipe.read import check_config, read_table
from jinv.recipe.recipe import Recipe

MAXIMUM_SETTINGS = 1000
RANGE = "terms.total_variation.weight=1e-5:1e-1:log8"


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
    table = read_table(Path(config), overrides)
    keys = _varied(vary)
    if zipped and len({len(values) for values in keys.values()}) > 1:
        counts = ", ".join(f"{key} has {len(values)}" for key, values in keys.items())
        raise UsageError(f"--zip: every --vary needs as many values as the others: {counts}")
    combined = zip(*keys.values(), strict=True) if zipped else itertools.product(*keys.values())
    rows = list(itertools.islice(combined, MAXIMUM_SETTINGS + 1))
    if not 2 <= len(rows) <= MAXIMUM_SETTINGS:
        raise _not_a_sweep("more" if len(rows) > MAXIMUM_SETTINGS else "one setting")
    return [
        make_variation(index, dict(zip(keys, values, strict=True)), table, config, among=len(rows), overrides=overrides)
        for index, values in enumerate(rows)
    ]


def make_variation(
    index: int,
    changes: dict[str, Any],
    table: dict[str, Any],
    config: str | Path,
    *,
    among: int,
    flag: str = "--vary",
    overrides: Sequence[str] = (),
) -> Variation:
    """The setting of that number among so many, whose config's `table` is changed in a copy.

    `flag`, and the `overrides` that are in the table already, are for messages.

    Raises:
      UsageError: anything wrong with a value, as `read_config`.
    """
    path, short = Path(config), short_keys(list(changes))
    changed = copy.deepcopy(table)
    for key, value in changes.items():
        set_value(changed, key, copy.deepcopy(value), where=f"{flag} {key}")
    words = "_".join(f"{short[key]}={value}" for key, value in changes.items())
    name = f"{index:0{len(str(among - 1))}d}_" + re.sub(r"[^\w.=+-]+", "-", words).strip("-")[:80]
    where = f"{path} with " + ", ".join(f"{key}={shown(value)}" for key, value in changes.items())
    set_by = {key: option for key, option in changed_by({"--set": overrides}).items() if key not in changes}
    recipe = check_config(changed, where=where, folder=path.parent, changed=set_by)
    return Variation(index, name, changes, recipe)


def _not_a_sweep(count: str) -> UsageError:
    return UsageError(f"--vary: {count}, a sweep has from 2 to {MAXIMUM_SETTINGS} settings")


def _varied(vary: Sequence[str]) -> dict[str, list[Any]]:
    keys: dict[str, list[Any]] = {}
    example = "terms.total_variation.weight=[1e-3,1e-2]"
    for text in vary:
        key, value = split_override(text, "--vary", example)
        values = points_of(value, f"--vary {key}") if is_range(value) else parse_override(text, "--vary", example)[1]
        if not isinstance(values, list) or not values:
            raise UsageError(
                f"--vary {key}: {shown(values)} must be a list of values or a range, for example --vary {example} or {RANGE}"
            )
        if len(values) > MAXIMUM_SETTINGS:
            raise _not_a_sweep("more")
        if key in keys:
            raise UsageError(f"--vary {key}: given twice; put all its values into one list")
        check_repeated(values, f"--vary {key}")
        keys[key] = values
    if not keys:
        raise UsageError(f"sweep: what is varied? For example: --vary {example}")
    return keys


def check_repeated(values: Sequence[Any], where: str) -> None:
    """Refuse a value that is listed twice.

    Raises:
      UsageError: one is; the message begins with `where`.
    """
    repeated = [value for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        raise UsageError(f"{where}: the value {shown(repeated[0])} appears twice")


def short_keys(keys: list[str]) -> dict[str, str]:
    """Each key's last words, as few as tell it from the others: terms.total_variation.weight -> weight."""

    def endings(key: str) -> Iterator[str]:
        words = key.split(".")
        yield from (".".join(words[start:]) for start in range(len(words) - 1, -1, -1))

    return {
        key: next(end for end in endings(key) if end == key or not any(o != key and f".{o}".endswith(f".{end}") for o in keys))
        for key in keys
    }  # fmt: skip
