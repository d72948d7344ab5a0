"""From what a table says to a checked value, or to one line with every problem, by key, value, limit and nearest name."""

import difflib
import itertools
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from annotated_types import Ge, Le
from pydantic import BaseModel, Discriminator, ValidationError
from pydantic.fields import FieldInfo

from jinv.errors import UsageError

MAXIMUM_PROBLEMS = 10
"""So many are told; a file of another kind has thousands."""


Kind = TypeVar("Kind")

TABLE = "table"
"""In a union of a value and a table: the tag of the table, which pydantic puts among the keys of a problem."""


@dataclass(frozen=True)
class Must:
    """In a key's declaration: what its values have to be, where type and limits don't say it well."""

    words: str


@dataclass(frozen=True)
class Needed:
    """In a key's declaration: what is said where it is missing."""

    words: str


@dataclass(frozen=True)
class Inside:
    """In a key's declaration: its values are tables that stay plain dicts, with the keys that `model` declares."""

    model: type[BaseModel]


@dataclass(frozen=True)
class _Place:
    """Where in a table a problem is: the keys to it, how they are written, the declarations on the way."""

    keys: tuple[str | int, ...]
    path: str
    model: type[BaseModel]
    field: FieldInfo | None
    entry: bool


def problems_of(model: type[BaseModel], table: Mapping[str, Any], error: ValidationError) -> dict[str, str]:
    """What is wrong with `table`, each key once, and that key."""
    found: dict[str, str] = {}
    for line in error.errors(include_url=False, include_context=True):
        place, kind = _place(model, line["loc"]), line["type"]
        given = _given(table, place.keys)
        if kind == "too_short" and given:
            continue  # pydantic counts the entries that are right
        if kind == "extra_forbidden":
            name = str(line["loc"][-1])
            prefix = place.path.removesuffix(name)
            found[place.path] = unknown_key(name, place.model.model_fields, prefix, homes_of(model, name))
        elif kind == "must":
            found[place.path] = f"{place.path}: {shown(given)} must be {line['ctx']['words']}"
        elif place.field is None:
            found[place.path] = f"{place.path}: {shown(line['input'])} must be a text, as every key"
        elif given is None:
            found.setdefault(place.path, _needed(place, place.field))
        else:
            found.setdefault(place.path, _wrong(place, place.field, given, kind))
    return {text: path for path, text in found.items()}


def refuse(where: str, problems: Mapping[str, str], changed: Mapping[str, str]) -> UsageError:
    """The error that tells them all in one line, each with its key; `changed` as `checked` has it."""
    said = list(itertools.islice(problems.items(), MAXIMUM_PROBLEMS))
    typed = [told("", key, text, changed) for text, key in said if option_of(key, changed)]
    own = [text for text, key in said if not option_of(key, changed)]
    more = len(problems) - MAXIMUM_PROBLEMS
    lines = [f"{where}: {'; '.join(own)}"] if own else []
    return UsageError("; ".join([*lines, *typed]) + (f"; and {more} more" if more > 0 else ""))


def told(where: str, key: str, said: str, changed: Mapping[str, str]) -> str:
    """What is said of a config's `key`, and who gave its value: the file, `where`, or an option.

    changed: by the keys that options changed, which option it was, such as {"image.count": "--set"}.
    """
    typed = option_of(key, changed)
    if typed is None:
        within = next((one for one in changed if one.startswith(f"{_dotted(key)}.")), None)
        return f"{where} with {changed[within]} {within}: {said}" if within else f"{where}: {said}"
    return f"{changed[typed]} {said}" if said.startswith(key) else f"{changed[typed]} {typed}: {said}"


def option_of(key: str, changed: Mapping[str, str]) -> str | None:
    """Which of the keys in `changed` the value of `key` is from."""
    return next((one for one in changed if f"{_dotted(key)}.".startswith(f"{one}.")), None)


def _dotted(key: str) -> str:
    return re.sub(r"\[([0-9]+)\]", r".\1", key)


def unknown_key(key: str, known: Iterable[str], prefix: str, homes: Sequence[str] = ()) -> str:
    """What is said of a key that nobody declared, or nobody here: `homes` are where it is."""
    names = list(known)
    meant = homes or [prefix + close for close in difflib.get_close_matches(key, names, n=1, cutoff=0.5)]
    quoted = " or ".join(f"'{path}'" for path in meant)
    hint = f" (did you mean {quoted}?)" if meant else f" (known: {', '.join(names)})"
    return f"unknown key '{prefix}{key}'{hint}"


def homes_of(model: type[BaseModel], key: str) -> list[str]:
    """Where a key of this very name is declared: at the top, or in a table of the top, unless that has names that users choose."""
    found = [key] if key in model.model_fields else []
    for name, field in model.model_fields.items():
        inner = inner_model(field)
        if inner is not None and not is_table_of_entries(field) and key in inner.model_fields:
            found.append(f"{name}.{key}")
    return found


def one_of(choices: Iterable[Any]) -> str:
    """Choices, in words."""
    return f"one of {', '.join(map(repr, choices))}"


def shown(value: Any, depth: int = 3) -> str:
    """A value for a message: as Python writes it, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {int(value.bit_length() * 0.30103) + 1} digits"  # log10(2)
    if isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else value
        inner = [
            f"{item[0]!r}: {shown(item[1], depth - 1)}" if isinstance(value, dict) else shown(item, depth - 1)
            for item in itertools.islice(items if depth else (), 12)
        ]
        inner += [f"... {len(value)} in all"] if len(inner) < len(value) else []
        text = f"{{{', '.join(inner)}}}" if isinstance(value, dict) else f"[{', '.join(inner)}]"
    else:
        text = repr(value)
    return text if len(text) <= 400 else f"{text[:380]}...{text[-1]}"


def ingredients(annotation: Any) -> Iterator[Any]:
    """The types and the metadata that an annotation is made of, from the outside in; models and choices are not opened."""
    if metadata := getattr(annotation, "__metadata__", None):
        yield from metadata
        yield from ingredients(annotation.__origin__)
        return
    yield annotation
    if typing.get_origin(annotation) is not typing.Literal:
        for argument in typing.get_args(annotation):
            yield from ingredients(argument)


def declared(field: FieldInfo, kind: type[Kind]) -> Kind | None:
    """The metadata of this kind in a key's declaration, or None."""
    return next((item for item in _field_ingredients(field) if isinstance(item, kind)), None)


def inner_model(field: FieldInfo) -> type[BaseModel] | None:
    """The declaration of the table, or of the tables, that a key holds."""
    for item in _field_ingredients(field):
        if isinstance(item, Inside):
            return item.model
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None


def is_table_of_entries(field: FieldInfo) -> bool:
    """Are the keys of the table that this key holds free, such as [terms.NAME]?"""
    return typing.get_origin(field.annotation) is dict


def _field_ingredients(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    yield from ingredients(field.annotation)


def _place(model: type[BaseModel], location: tuple[str | int, ...]) -> _Place:
    keys: list[str | int] = []
    path, here, field, entry = "", model, None, False
    rest = list(location)
    while rest:
        name = rest.pop(0)
        keys.append(name)
        path = f"{path}.{name}" if path else str(name)
        field, entry = here.model_fields.get(str(name)), False
        if field is None:
            return _Place(tuple(keys), path, here, None, False)
        inner = inner_model(field)
        if rest and is_table_of_entries(field):
            keys.append(rest[0])
            path, entry = f"{path}.{rest.pop(0)}", True
        elif len(rest) > 1 and inner is not None and isinstance(rest[0], int):
            keys.append(rest[0])
            path = f"{path}[{rest.pop(0)}]"
        elif rest and declared(field, Discriminator) is not None and rest.pop(0) != TABLE:
            break
        if inner is None or (rest and isinstance(rest[0], int)):
            break
        here = inner
    return _Place(tuple(keys), path, here, field, entry)


def _given(table: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        if isinstance(table, BaseModel):
            table = getattr(table, str(key), None)
        elif isinstance(table, list | tuple):
            table = table[key] if isinstance(key, int) and key < len(table) else None
        else:
            table = table.get(key) if isinstance(table, Mapping) else None
    return table


def _needed(place: _Place, field: FieldInfo) -> str:
    if needed := declared(field, Needed):
        return f"{place.path}: {needed.words}"
    if is_table_of_entries(field) or _is_table(field):
        return f"the table [{place.path}] is missing"
    return f"{place.path}: needed: {_words(place, field, None)}"


def _wrong(place: _Place, field: FieldInfo, given: Any, kind: str) -> str:
    if kind == "too_short" and (needed := declared(field, Needed)):
        return f"{place.path}: {needed.words}"
    if not place.entry and inner_model(field) and typing.get_origin(field.annotation) is tuple:
        return f"{place.path}: must be a list of tables, [[{place.path}]]"
    return f"{place.path}: {shown(given)} must be {_words(place, field, given)}"


def _words(place: _Place, field: FieldInfo, given: Any) -> str:
    """What a key's values have to be: by its `Must`, else by its type and limits."""
    if is_table_of_entries(field) and not place.entry:
        return f"a table, [{place.path}]"
    if must := declared(field, Must):
        return must.words
    annotation = typing.get_args(field.annotation)[1] if place.entry else field.annotation
    for item in ingredients(annotation):
        if isinstance(item, Inside):
            break
        if typing.get_origin(item) is typing.Literal:
            return one_of(typing.get_args(item))
        if item is bool:
            return "true or false"
        if item is int:
            return _whole_number(field, given)
        if item is str:
            return "a text"
    return f"a table, [{place.path}]"


def _whole_number(field: FieldInfo, given: Any) -> str:
    low, high = declared(field, Ge), declared(field, Le)
    most: Any = high.le if high is not None else None
    if most is not None and isinstance(given, int) and not isinstance(given, bool) and given > most:
        return f"a whole number of at most {most}"
    return f"a whole number of at least {low.ge}" if low is not None else "a whole number"


def _is_table(field: FieldInfo) -> bool:
    annotation = field.annotation
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return any(isinstance(option, type) and issubclass(option, BaseModel) for option in options)
