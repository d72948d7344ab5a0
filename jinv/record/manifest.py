"""manifest.json: what a run was made of and on; it exists from a run's start, and `finished` is null until its end."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from jinv.errors import RunConflictError, UnsafeInputError
from jinv.record.entry import DIGEST, Entry, Whole, read_json, validated

SCHEMA = 1


class InvertedModel(Entry):
    """The network that was inverted; `sha256` is its checkpoint's, `family` and `training` as `Classifier` has them."""

    name: str | None = None
    architecture: str | None = None
    family: str | None = None
    training: str | None = None
    sha256: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Member(InvertedModel):
    """One network of a committee, and its share in the objective."""

    share: float


class StageSteps(Entry):
    """A stage: what the network saw (height, width), and for how many steps."""

    size: tuple[Whole, Whole]
    steps: Whole


class SweepSetting(Entry):
    """A run's place in a sweep: its name there, and what was changed for it."""

    name: str
    changes: dict[str, Any]


class PluginUse(Entry):
    """A plugin of whoever made the run: what it was called there, the sha256 of its file, and what the config took from it,
    each by kind and name, such as "terms.edge_prior"."""

    plugin: str
    sha256: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.plugin} ({', '.join(self.names)}; sha256 {self.sha256[:12]}...)"

    @property
    def what(self) -> str:
        """What was taken, of which text: the same wherever the file lies."""
        return f"{', '.join(self.names)} of sha256 {self.sha256}"


class Manifest(Entry):
    """All of manifest.json. What a newer version of the same schema wrote besides is kept.

    committee: where several networks were inverted all of them, of which `model` is the first; images.npy is in its units.
    statistics_sha256: of the recorded statistics of each network, None where it has none; absent where no network has.
    start_sha256: of the images that the synthesis starts from, where they are given. plugins: None where it used none.
    image_size: (height, width). layers: of each network the names of its batch-norm layers, where their statistics are
    logged. command, host: as which, and where the run was begun; commit: of jinv's own checkout, if it ran from one,
    "-dirty" where that was changed. wall_seconds: of the synthesis. outputs: sha256 by file, once the run is sealed.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True)
    NULLS = ("finished",)

    schema_version: int = Field(default=SCHEMA, alias="schema")
    jinv: str | None = None
    model: InvertedModel = InvertedModel()
    committee: tuple[Member, ...] | None = None
    student_sha256: str | None = None
    statistics_sha256: tuple[str | None, ...] | None = None
    start_sha256: str | None = None
    plugins: tuple[PluginUse, ...] | None = None
    seed: Whole | None = None
    labels: tuple[Whole, ...] = ()
    class_names: tuple[str, ...] = ()
    image_size: tuple[Whole, Whole] | None = None
    stages: tuple[StageSteps, ...] = ()
    layers: tuple[tuple[str, ...], ...] | None = None
    versions: dict[str, str] = {}
    device: str | None = None
    command: str | None = None
    host: str | None = None
    commit: str | None = None
    started: str | None = None
    finished: str | None = None
    sweep: SweepSetting | None = None
    wall_seconds: float | None = None
    outputs: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_name_per_label(self) -> "Manifest":
        if self.labels and self.class_names and len(self.labels) != len(self.class_names):
            raise ValueError(f"class_names: {len(self.class_names)} for {len(self.labels)} labels")
        return self

    @property
    def inverted(self) -> tuple[InvertedModel, ...]:
        """The networks that were inverted, one or several."""
        return self.committee or (self.model,)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in `path`, None where there is none.

    Raises:
      RunConflictError: of another version. UnsafeInputError: it is damaged. StorageError: it cannot be read.
    """
    table = read_json(path)
    if table is None:
        return None
    found = table.get("schema") if isinstance(table, dict) else table
    if not isinstance(table, dict) or type(found) is not int or found != SCHEMA:
        refuse = RunConflictError if type(found) is int else UnsafeInputError
        raise refuse(f"{path}: schema {found!r:.60}, this jinv reads {SCHEMA}")
    return validated(Manifest, {key: value for key, value in table.items() if key != DIGEST}, path)
