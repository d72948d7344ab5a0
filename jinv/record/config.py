"""config.toml of a run, as far as who reads it relies on its form; what its keys may say is checked where a run is carried out."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from jinv.record.entry import Entry, Whole, validated


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
