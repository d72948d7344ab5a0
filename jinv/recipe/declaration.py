"""How a key of a config is declared, once: its type, default, limits, what kind of path it is, and one line of help.

A table is a `Part`, a key a field of it. Reading, checking, the resolved table and the schema for editors follow from the
declaration; `checking` puts into words what is wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import PydanticUndefined, core_schema

from jinv.recipe.checking import Inside, problems_of, refuse

Value = TypeVar("Value")
PartType = TypeVar("PartType", bound="Part")


@dataclass(frozen=True)
class Written:
    """In a key's declaration: it is in a run's config, also at its default, exactly where it has an effect.

    `when` is given the table that the key is in.
    """

    when: Callable[[Any], bool] = lambda part: True


Recorded = Annotated[Value, Written()]
"""A key that every run's config has. Others are left out at their default, so that a new key changes no old run's config."""


@dataclass(frozen=True)
class Aside:
    """In a key's declaration: its value decides no image, so that a run goes on with another one.

    Either it is of what is recorded beside the images, or it is a path, for which the digest of what lies there stands in the
    run's manifest. What changes rounding alone, such as `remat`, does decide: a resumed run ends with the same bits.
    """


def key(help: str, default: Any = PydanticUndefined, **declared: Any) -> Any:
    """A key of a table: one line of help, its default (without one it is needed), and what else `pydantic.Field` takes."""
    return Field(default, description=help, **declared)


class Part(BaseModel):
    """A checked table. Making one checks it: `Recipe(model=..., image={...}, ...)`, paths relative to where one stands.

    Raises:
      UsageError: anything wrong in it, all problems in one line.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def __init__(self, /, **table: Any) -> None:
        _validate(type(self), table, type(self).__name__, Path(), self)

    # A table inside another one is checked with it, not by a call of its own: pydantic asks for this mark.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            kind = type(self).__name__
            raise AttributeError(f"{kind}.{name} can't be set; make another {kind}: replaced(..., {name}=...)")
        super().__setattr__(name, value)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        """What keys, each right by itself, say against one another, as `key: what is wrong`.

        The table is as it was given: anything may be wrong in it.
        """
        return iter(())


def checked(
    model: type[PartType],
    table: Mapping[str, Any],
    *,
    where: str,
    folder: Path,
    changed: Mapping[str, str] = MappingProxyType({}),
) -> PartType:
    """Check a table; paths in it are relative to `folder`, the message begins with `where`.

    changed: by keys that options changed, which option; what is wrong with those is said of it, as `told`.

    Raises:
      UsageError: anything wrong in it, all problems in one line.
    """
    return _validate(model, table, where, folder, None, changed)


class Table(Inside):
    """In a key's declaration: a table that stays a plain dict, in the order in which it is written."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._plain, handler.generate_schema(self.model))

    def _plain(self, value: Any, handler: Callable[[Any], Part]) -> dict[str, Any]:
        part = handler(value)
        values = part.__dict__ | (part.__pydantic_extra__ or {})
        given = value if isinstance(value, dict) else values
        filled = [name for name, field in self.model.model_fields.items() if Written() in field.metadata]
        return {name: values[name] for name in dict.fromkeys([*given, *filled])}


def _validate(
    model: type[PartType],
    table: Mapping[str, Any],
    where: str,
    folder: Path,
    instance: PartType | None,
    changed: Mapping[str, str] = MappingProxyType({}),
) -> PartType:
    problems: dict[str, str] = {}
    part: PartType
    try:
        part = model.__pydantic_validator__.validate_python(dict(table), context=folder, self_instance=instance)
    except ValidationError as error:
        problems = problems_of(model, table, error)
    problems |= {text: text.partition(": ")[0] for text in model.conflicts(table)}
    if problems:
        raise refuse(where, problems, changed)
    return part
