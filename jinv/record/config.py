"""config.toml of a run, as far as who reads it relies on its form; what its keys may say is checked where a run is carried out."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ConfigDict

from jinv.errors import StorageError, UnsafeInputError, legible
from jinv.record.entry import Entry, Whole, validated

CONFIG = "config.toml"
"""What a run, a training and a distillation call the config that they were begun with."""

SIGN = "# sha256 of the lines above: "


class ImageTable(Entry):
    """The `[image]` table."""

    batch: Whole | None = None


class EvaluateTable(Entry):
    """The `[evaluate]` table."""

    verifiers: tuple[str, ...] = ()
    onnx: dict[str, dict[str, Any]] = {}
    reference: str | None = None
    photographs: str | None = None


class ConfigTable(Entry):
    """What is a table in every config is one."""

    model_config = ConfigDict(extra="ignore")

    image: ImageTable = ImageTable()
    evaluate: EvaluateTable = EvaluateTable()
    stages: tuple[dict[str, Any], ...] = ()
    augment: dict[str, dict[str, Any]] = {}
    terms: dict[str, dict[str, Any]] = {}


def with_tables(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The config, where its tables are tables.

    Raises:
      UnsafeInputError: they are not, in one line.
    """
    validated(ConfigTable, config, path)
    return config


def batch_of(config: dict[str, Any], count: int) -> Any:
    """The images per batch of a run of `count`, all of them where its config does not say; None of a config without the table."""
    image = config.get("image")
    return image.get("batch", count) if isinstance(image, dict) else None


def is_batch(size: Any) -> bool:
    """Whether that is a number of images."""
    return type(size) is int and size >= 1


def read_table(path: Path) -> dict[str, Any]:
    """The table in a run's config.

    Raises:
      StorageError: it is not there or cannot be read. UnsafeInputError: it is damaged.
    """
    try:
        return with_tables(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UnsafeInputError(f"{path}: cannot be read: {error}") from error


def signed_text(table: dict[str, Any]) -> str:
    """A run's config as its file has it: the last line is a comment with the digest of the others."""
    text = tomli_w.dumps(table)
    return f"{text}{SIGN}{hashlib.sha256(legible(text).encode()).hexdigest()}\n"


def is_whole(config: bytes, *, signed: bool = False) -> bool:
    """Whether a config's last line is the digest of the others; one that has none is, unless it was `signed` for sure."""
    above, sign, digest = config.rpartition(SIGN.encode())
    if not sign:
        return not signed
    return hashlib.sha256(above).hexdigest().encode() == digest.strip()
