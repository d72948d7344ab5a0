"""metrics.jsonl: a line per logged step, appended while the run goes on.

Every line is standard JSON: a number that is not finite is null there, and the line says `"finite": false`.
"""

import hashlib
import json
import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from jinv.errors import StorageError, UnsafeInputError
from jinv.record.entry import Entry, Whole, parsed, validated

Number = Annotated[
    float,
    BeforeValidator(lambda number: math.nan if number is None else number),
    PlainSerializer(lambda number: number if math.isfinite(number) else None),
]


@dataclass(frozen=True)
class TermValue:
    """A term of the objective, without and with its weight."""

    value: Number
    weighted: Number


@dataclass(frozen=True)
class MemberValue:
    """What one network of a committee said: of the terms that look at a network, unweighted, and its own accuracy."""

    terms: dict[str, Number]
    accuracy: Number


@dataclass(frozen=True)
class StatisticsDistance:
    """By what fraction a network's batch statistics were off the running ones, a number per batch-norm layer in network
    order: `|mu - running_mean|_2 / sqrt(sum running_var)`, `|var - running_var|_2 / |running_var|_2`."""

    mean: tuple[Number, ...]
    variance: tuple[Number, ...]


class MetricsLine(Entry):
    """What was logged of a batch at a step, before the step's update.

    step counts over all stages, stage_step within the stage; size is what the network saw (height, width). total is the
    weighted sum of the terms, accuracy the share of images that the inverted network gives their label. gradient_norms,
    where they were asked for, are the weighted terms' and the total's; gradient_cosines[a][b] is the cosine of the angle between
    the gradients of two terms, a before b in the config, null where one is zero or not finite. statistics: of each network,
    where they were asked for. Of a committee terms and accuracy are means by the
    members' shares, and members says them of each in the config's order, null of those that the step did not ask.
    """

    batch: Whole
    step: Whole
    stage: Whole
    stage_step: Whole
    size: tuple[Whole, Whole]
    learning_rate: Number
    total: Number
    accuracy: Number
    terms: dict[str, TermValue]
    gradient_norms: dict[str, Number] | None = None
    gradient_cosines: dict[str, dict[str, float | None]] | None = None
    statistics: tuple[StatisticsDistance, ...] | None = None
    members: tuple[MemberValue | None, ...] | None = None

    @property
    def finite(self) -> bool:
        """Whether every number is."""
        return all(map(math.isfinite, self._numbers()))

    def _laid_out(self, table: dict[str, Any]) -> dict[str, Any]:
        return table if self.finite else table | {"finite": False}

    def _numbers(self) -> Iterator[float]:
        yield from (self.learning_rate, self.total, self.accuracy)
        for term in self.terms.values():
            yield from (term.value, term.weighted)
        yield from (self.gradient_norms or {}).values()
        for network in self.statistics or ():
            yield from (*network.mean, *network.variance)


def lines_text(lines: Iterable[MetricsLine]) -> str:
    """The lines as the file has them."""
    return "".join(json.dumps(line.to_json(), allow_nan=False) + "\n" for line in lines)


def lines_digest(lines: Iterable[MetricsLine]) -> "hashlib._Hash":
    """sha256 of the lines as the file has them."""
    return hashlib.sha256(lines_text(lines).encode())


def read_metrics(path: Path) -> list[MetricsLine]:
    """The lines of `path`, as `iter_metrics` gives them."""
    return list(iter_metrics(path))


def iter_metrics(path: Path) -> Iterator[MetricsLine]:
    """The lines of `path` one after another, none kept; none where there is no such file.

    What was being written when a run crashed is left out.

    Raises:
      UnsafeInputError: a line that was written to its end is damaged. StorageError: the file cannot be read.
    """
    yield from first_metrics([path])


def first_metrics(paths: Iterable[Path]) -> Generator[MetricsLine, None, bool]:
    """As `iter_metrics`, of the first of the files that is there when it is opened; returns whether any is."""
    for path in paths:
        try:
            with path.open("rb") as file:
                for number, text in enumerate(file, 1):
                    if text.endswith(b"\n"):
                        yield _line(text[:-1], f"{path}, line {number}")
                    elif (last := _last(text, path)) is not None:
                        yield last
            return True
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    return False


def _last(text: bytes, path: Path) -> MetricsLine | None:
    try:
        return _line(text, path)
    except UnsafeInputError:
        return None


def _line(text: bytes, where: object) -> MetricsLine:
    return validated(MetricsLine, parsed(text, where), where)
