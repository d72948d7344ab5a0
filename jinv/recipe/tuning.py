"""What a search may change: `--tune key.path=low:high[:log]`, or a list of values, and the settings that follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinv.errors import UsageError
from jinv.recipe.checking import shown
from jinv.recipe.overrides import parse_override, split_override
from jinv.recipe.paths import typed
from jinv.recipe.ranges import Interval, interval_of, is_range
from jinv.recipe.read import read_table
from jinv.recipe.variations import Variation, check_repeated, make_variation

MAXIMUM_TRIALS = 10_000
EXAMPLE = "terms.total_variation.weight=1e-5:1e-1:log"

Choices = tuple[str | int | float | bool, ...]
Space = Mapping[str, Interval | Choices]
"""By key, between what, or among what, a trial's value is."""


@dataclass(frozen=True)
class Tuned:
    """A config whose keys in `space` are searched; its judges are asked of every trial beside the config's own."""

    config: Path
    table: dict[str, Any]
    space: dict[str, Interval | Choices]
    overrides: Sequence[str] = ()

    def setting(self, number: int, values: Mapping[str, Any]) -> Variation:
        """The setting that is trial `number`.

        Raises:
          UsageError: a value that the config cannot have.
        """
        changes = {key: values[key] for key in self.space}
        return make_variation(
            number,
            changes,
            self.table,
            self.config,
            among=MAXIMUM_TRIALS,
            flag="--tune",
            overrides=self.overrides,
        )

    @property
    def corners(self) -> list[Variation]:
        """The setting with every lower end or first choice, then, key by key, those with the upper end or another choice there."""
        ends = {key: _ends(among) for key, among in self.space.items()}
        low = {key: values[0] for key, values in ends.items()}
        others = (low | {key: value} for key, values in ends.items() for value in values[1:])
        return [self.setting(0, low), *(self.setting(0, other) for other in others)]


def read_tuned(
    config: str | Path,
    tune: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    judges: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> Tuned:
    """A config and what is searched in it; `judges` are added to its verifiers, and `metrics` at their defaults to its own.

    Raises:
      StorageError: no such config. UsageError: anything wrong in it, or in what is to be tuned.
    """
    path, space = Path(config), {}
    for text in tune:
        key, value = split_override(text, "--tune", EXAMPLE)
        if key in space:
            raise UsageError(f"--tune {key}: given twice")
        where = f"--tune {key}"
        space[key] = interval_of(value, where) if is_range(value) else _choices(text, where)
    if not space:
        raise UsageError(f"search: what is tuned? For example: --tune {EXAMPLE}")
    table = read_table(path, overrides)
    evaluate = table.setdefault("evaluate", {})
    if isinstance(evaluate, dict) and isinstance(evaluate.get("verifiers", []), list):
        own = evaluate.get("verifiers", [])
        evaluate["verifiers"] = [*own, *(typed(name) for name in dict.fromkeys(judges) if name not in own)]
    measured = table.setdefault("metric", {}) if metrics else {}
    if isinstance(measured, dict):
        measured.update({name: {} for name in metrics if name not in measured})
    return Tuned(path, table, space, tuple(overrides))


def _choices(text: str, where: str) -> Choices:
    _, values = parse_override(text, "--tune", EXAMPLE)
    if not isinstance(values, list) or len(values) < 2:
        raise UsageError(f"{where}: {shown(values)} must be low:high, low:high:log or a list of values to choose among")
    if not all(isinstance(value, str | int | float) for value in values):
        raise UsageError(f"{where}: {shown(values)} must be a list of numbers, texts, true or false")
    check_repeated(values, where)
    return tuple(str(value) if isinstance(value, str) else value for value in values)


def _ends(among: Interval | Choices) -> Choices:
    """Both ends: what is right at them is right between. Of choices each says nothing of the others."""
    return (among.low, among.high) if isinstance(among, Interval) else among
