"""What the tables of a run's JSON files have in common: frozen, checked when read, their mistakes said in one line."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from jinv.errors import JinvError, RunConflictError, StorageError, UnsafeInputError, legible

E = TypeVar("E", bound="Entry")
MOST_PROBLEMS = 3

DIGEST = "digest"
"""The key of a file's table that has the sha256 of all others, where the file has no digest elsewhere."""

Whole = Annotated[int, Field(strict=True, ge=0, le=2**53)]
"""A count, an id or a place, as large as every reader of JSON can hold."""


class Entry(BaseModel):
    """A table of a file. What is None has no key there, but for `NULLS`; a newer writer's keys are passed over."""

    model_config = ConfigDict(frozen=True)

    NULLS: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _legible(cls, table: Any) -> Any:
        return legible(table)

    @model_serializer(mode="wrap")
    def _serialized(self, handler: Any) -> dict[str, Any]:
        absent = {name for name in type(self).model_fields if getattr(self, name) is None and name not in self.NULLS}
        return self._laid_out({key: value for key, value in handler(self).items() if key not in absent})

    def _laid_out(self, table: dict[str, Any]) -> dict[str, Any]:
        """The table as the file has it."""
        return table

    def to_json(self) -> dict[str, Any]:
        """The table as plain values, for `json.dumps`."""
        return self.model_dump(mode="json", by_alias=True)


def read_json(path: Path) -> Any:
    """What is in a JSON file; None says that there is no such file, for one that holds `null` is refused.

    Nobody asks a second time whether it is there: by then somebody else may have written it.

    Raises:
      StorageError: it cannot be read. UnsafeInputError: it is no JSON, or `null`.
    """
    try:
        value = parsed(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if value is None:
        raise UnsafeInputError(f"{path}: cannot be read: it holds nothing but null")
    return value


def parsed(data: bytes, where: object) -> Any:
    """The JSON value in `data`, which came out of `where`.

    Raises:
      UnsafeInputError: there is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnsafeInputError(f"{where}: cannot be read: it is not whole, or not as it was written") from error


def validated(kind: type[E], table: Any, where: object, refuse: type[JinvError] = UnsafeInputError) -> E:
    """`table`, which came out of `where`, as a `kind`.

    Raises:
      JinvError: of the class `refuse`; it is none, the first problems in one line.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problems = [_problem(detail, table) for detail in error.errors(include_url=False)]
    more = f" ({len(problems)} in all)" if len(problems) > MOST_PROBLEMS else ""
    raise refuse(f"{where}: {'; '.join(problems[:MOST_PROBLEMS])}{more}")


def read_record(kind: type[E], path: Path, schema: int, what: str) -> E | None:
    """The entry in a file whose `schema_version` is `schema`, None where there is no file; `what` it is of, in words.

    Raises:
      RunConflictError: of another version. UnsafeInputError: it is damaged, or not as it was written, as far as it says.
      StorageError: it cannot be read.
    """
    table = read_json(path)
    if table is None:
        return None
    if not isinstance(table, dict) or table.get("schema_version") != schema:
        raise RunConflictError(f"{path}: not a {what} that this jinv reads")
    if table.pop(DIGEST, None) not in (None, _digest(table)):
        raise UnsafeInputError(f"{path}: is not as it was written; put it back, or begin anew in another --out")
    return validated(kind, table, path)


def _problem(detail: Any, table: Any) -> str:
    """ "verifiers.a.count: 'x': input should be an integer"; the names of a union's types are no keys of the file."""
    missing = detail["type"] == "missing"
    keys, value = [], table
    for part in detail["loc"]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            if not (missing and part == detail["loc"][-1]):
                continue
        keys.append(str(part))
    key = ".".join(keys)
    if missing:
        return f"{key}: missing"
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    found = f"{detail['input']!r:.60}"
    return f"{key}: {found}: {message}" if key else f"{found}: {message}"


def with_digest(entry: Entry) -> dict[str, Any]:
    """The table of a file: the entry's and its own digest, which is not part of the value."""
    table = legible(entry.to_json())
    return table | {DIGEST: _digest(table)}


def has_its_digest(data: bytes) -> bool:
    """Whether a file of `with_digest` is as it was written, as far as it says; one that cannot be read is not."""
    try:
        table = json.loads(data)
        return isinstance(table, dict) and table.pop(DIGEST, None) in (None, _digest(table))
    except (ValueError, RecursionError):
        return False


def _digest(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
