"""The config as it was carried out: what a run directory keeps, and what `--resume` compares."""

from collections.abc import Container, Iterator, Mapping
from itertools import accumulate
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jinv.errors import legible
from jinv.recipe.checking import declared, inner_model, is_table_of_entries, shown
from jinv.recipe.declaration import Aside, Part, Written
from jinv.recipe.paths import PathKind
from jinv.recipe.read import check_config
from jinv.recipe.recipe import Recipe, replaced


def resolved_table(
    recipe: Recipe,
    labels: list[int] | None = None,
    size: tuple[int, int] | None = None,
    *,
    every_key: bool = False,
) -> dict[str, Any]:
    """The config as it was carried out: labels as ids, sizes and defaults filled in, paths absolute.

    Args:
      labels: class ids, one per image; without a network they stay as they are.
      size: (height, width) of the images; without a network they stay as they are.
      every_key: also the keys that a run's config leaves out at their default.
    """
    image = recipe.image
    # Labels of every image are a plan of their own.
    plan = "cycle" if labels else image.plan
    image = replaced(image, labels=labels or image.labels, size=size or image.size, plan=plan)
    return table_of(replaced(recipe, image=image), every_key=every_key)


def changes_between(
    before: Mapping[str, Any],
    recipe: Recipe,
    labels: list[int],
    size: tuple[int, int],
    *,
    ignored: Container[str] = (),
) -> list[str]:
    """What differs between a run's config, as read from its directory, and a recipe: `key: 'old' then, 'new' now`.

    But for the keys and tables `ignored`, such as `asides()`. Both are compared with every default filled in, so that a key which is younger than the run is no difference.

    Raises:
      UsageError: the run's config is none that this jinv reads.
    """
    past = check_config(dict(before), where="config.toml")
    return differences(
        resolved_table(past, every_key=True), resolved_table(recipe, labels, size, every_key=True), ignored=ignored
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, ignored: Container[str] = ()) -> list[str]:
    """What differs between two resolved tables with every key, but for the keys and tables `ignored`."""
    then, now = dict(_flat(before, "")), dict(_flat(after, ""))
    return [
        f"{name}: {shown(then[name]) if name in then else 'not set'} then, {shown(now[name]) if name in now else 'not set'} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
        and not any(above in ignored for above in accumulate(name.split("."), _joined))
    ]


def asides(part: type[Part] = Recipe, path: str = "") -> Iterator[str]:
    """The keys, and tables of keys, that decide no image: those which are declared `Aside`, such as `image.init`."""
    for name, field in part.model_fields.items():
        inner = inner_model(field)
        if declared(field, Aside):
            yield path + name
        elif inner is not None and issubclass(inner, Part) and not is_table_of_entries(field):
            yield from asides(inner, f"{path}{name}.")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}"


def table_of(part: Part, *, every_key: bool = False) -> dict[str, Any]:
    """A checked table as a config has it, paths absolute; with `every_key` also those that are left out at their default."""
    return legible(_table(part, every_key))


def _table(part: Part, every_key: bool) -> dict[str, Any]:
    table = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        written = declared(field, Written)
        at_default = value == field.get_default(call_default_factory=True)
        if value is not None and (written.when(part) if written else every_key or not at_default):
            table[name] = _plain(value, field, every_key)
    return table


def _plain(value: Any, field: FieldInfo, every_key: bool) -> Any:
    if isinstance(value, Part):
        return _table(value, every_key)
    if isinstance(value, dict):
        model = inner_model(field)
        if model is None:
            return value
        if is_table_of_entries(field):
            return {name: _entry(entry, model, every_key) for name, entry in value.items()}
        return _entry(value, model, every_key)
    if isinstance(value, list | tuple):
        return [_plain(inner, field, every_key) for inner in value]
    if isinstance(value, str):
        kind = declared(field, PathKind)
        return kind.absolute(value) if kind else value
    return value


def _entry(table: dict[str, Any], model: type[BaseModel], every_key: bool) -> dict[str, Any]:
    fields = model.model_fields
    defaults = {name: field.default for name, field in fields.items() if every_key and not field.is_required()}
    values = table | {name: value for name, value in defaults.items() if name not in table and value is not None}
    return {name: _plain(value, fields[name], every_key) if name in fields else value for name, value in values.items()}


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, value
