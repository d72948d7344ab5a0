"""What is said of a training while it goes on: its epochs' lines, and beside them clocks and sinks, which decide nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jinv.errors import StorageError
from jinv.files import write_text
from jinv.recipe.resolved import table_of
from jinv.recipe.training import TrainingRecipe
from jinv.record.timing import TIMING, append_times
from jinv.record.training import EPOCHS, EpochLine, Tested, TrainingRecord, epochs_text
from jinv.runs.sinks import Opened, opened_sinks, opening_of
from jinv.runs.timing import EpochWatch


class EpochLog:
    """A training's epochs: metrics.jsonl, timing.jsonl beside it, and the sinks that the config asks for."""

    def __init__(self, directory: Path, lines: Sequence[EpochLine], sinks: Opened) -> None:
        """Go on after `lines`; what was logged of later epochs comes again."""
        self.directory, self.lines, self.sinks = directory, list(lines), sinks
        self.clock = EpochWatch()
        self.write()

    def write(self) -> None:
        """Make the lines all of metrics.jsonl: whole and on the disk, which what was appended need not be."""
        write_text(self.directory / EPOCHS, epochs_text(self.lines))

    def add(self, line: EpochLine) -> None:
        """An epoch is over, whose numbers are finite.

        Raises:
          StorageError: it cannot be written.
        """
        path, time = self.directory / EPOCHS, self.clock.read(line.epoch, line.step)
        self.lines.append(line)
        try:
            with path.open("ab") as file:
                file.write(epochs_text([line]).encode())
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        append_times(self.directory / TIMING, [time])
        values = line.model_dump(include={"learning_rate", "loss", "accuracy"})
        beside = time.model_dump(include={"updates_per_second", "memory"})
        self.sinks.scalars(line.step, values | beside | {"epoch": line.epoch})

    def tested(self, tested: Sequence[Tested]) -> None:
        """What the trained network recognises, for the sinks."""
        shares = {f"recognised/{'plain' if t.eps is None else f'eps_{t.eps:g}'}": t.right / t.count for t in tested}
        if shares and self.lines:
            self.sinks.scalars(self.lines[-1].step, shares)


@contextmanager
def logging(
    directory: Path,
    recipe: TrainingRecipe,
    record: TrainingRecord,
    lines: Sequence[EpochLine],
    say: Callable[[str], None],
) -> Iterator[EpochLog]:
    """The log of a training that goes on after `lines`, while it is carried out."""
    opening = opening_of(directory, record.started, table_of(recipe), say)
    sinks = Opened(opened_sinks(recipe.log, opening, "training"), say, "training")
    try:
        yield EpochLog(directory, lines, sinks)
    finally:
        sinks.close()
