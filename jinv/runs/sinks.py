"""Where else a run's numbers and pictures go while it goes on, by `--log NAME`: TensorBoard, Weights & Biases, Trackio.

metrics.jsonl stays the truth. A package that is not there is said before anything is written; whatever fails later ends that
sink with one line, and never the run. A training's numbers go there likewise (`jinv.students.log`).
"""

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jinv.errors import UsageError, first_line
from jinv.experiment.experiment import Experiment
from jinv.images.codec import grid_image
from jinv.images.sample import sample_by_class
from jinv.recipe.resolved import resolved_table
from jinv.record.directory import SINKS
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine
from jinv.record.timing import StepTime

PROJECT = "jinv"
MOST_GRIDS, GRID_IMAGES = 50, 16
"""Grids of pictures that a sink is given of a run, the first batches', and images of each."""

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}
"""What each sink is written with; the extra of jinv that installs it is called as the sink."""


@runtime_checkable
class Sink(Protocol):
    """What is opened for a run; anything may be raised, which ends it."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name, at a step."""

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """A grid of the run's images, uint8 (H, W, 3)."""

    def close(self) -> None:
        """The end of the run, or of this process's part of it."""


class Opening(NamedTuple):
    """What a sink is told of a run: a name for people, an id that is the same where the run goes on, its config, and the
    folder for files; say: told what a person should know."""

    name: str
    id: str
    config: dict[str, Any]
    folder: Path
    say: Callable[[str], None]


class TensorBoard:
    """Event files in logs/tensorboard; a run that goes on adds one."""

    def __init__(self, opening: Opening) -> None:
        self.writer = importlib.import_module("tensorboardX").SummaryWriter(str(opening.folder / "tensorboard"))
        self.writer.add_text("config", f"```json\n{json.dumps(opening.config, indent=1)}\n```")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """As `Sink`."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """As `Sink`."""
        self.writer.add_image("images", pixels, step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """As `Sink`."""
        self.writer.close()


class Tracker:
    """A run of `wandb`, or of `trackio`, which has its interface: init, log, Image, finish."""

    def __init__(self, module: Any, **keywords: Any) -> None:
        self.module = module
        with redirect_stdout(sys.stderr):  # they talk, and results are what standard output is for
            self.run = module.init(project=PROJECT, resume="allow", **keywords)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """As `Sink`."""
        self.run.log(dict(values), step=step)

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """As `Sink`."""
        self.run.log({"images": self.module.Image(pixels)}, step=step)

    def close(self) -> None:
        """As `Sink`."""
        with redirect_stdout(sys.stderr):
            self.run.finish()


def _wandb(opening: Opening) -> Sink:
    module = importlib.import_module("wandb")
    mode = os.environ.get("WANDB_MODE")
    if mode is None and not module.login(prompt=False):  # it would ask for an account, and wait
        mode = "offline"
        opening.say(
            f"wandb: no account here, so offline: wandb sync {opening.folder}/wandb/offline-run-* sends it later"
        )
    opening.folder.mkdir(parents=True, exist_ok=True)
    settings = {"silent": True, "console": "off", "disable_code": True}
    return Tracker(
        module, name=opening.name, id=opening.id, dir=str(opening.folder), config=opening.config, mode=mode,
        reinit="create_new", settings=settings,
    )  # fmt: skip


def _trackio(opening: Opening) -> Sink:
    # Its runs are known by their names alone.
    name = f"{opening.name}-{opening.id[:8]}"
    own = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
    return Tracker(importlib.import_module("trackio"), name=name, config=opening.config, **own)


OPENERS: dict[str, Callable[[Opening], Sink]] = {"tensorboard": TensorBoard, "wandb": _wandb, "trackio": _trackio}


def check_sinks(names: Sequence[str]) -> None:
    """Are the packages there?

    Raises:
      UsageError: one is not, or cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(PACKAGES[name])
        except Exception as error:  # a package of others
            raise UsageError(
                f"--log {name}: the package {PACKAGES[name]} cannot be imported ({type(error).__name__}: {first_line(error)}); "
                f"pip install 'jinv[{name}]', or leave --log {name} out"
            ) from error


class Opened:
    """Sinks that are told numbers; one that fails is said once and told no more. what: that goes on without it, in a word."""

    def __init__(self, opened: Mapping[str, Sink], say: Callable[[str], None], what: str) -> None:
        self.opened, self.say, self.what = dict(opened), say, what

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """The numbers of a step by the names that sinks show them under, but for those that are not known or not finite."""
        known = {name: float(value) for name, value in values.items() if value is not None and np.isfinite(value)}
        self._each(lambda sink: sink.scalars(step, known))

    def close(self) -> None:
        """The end."""
        self._each(lambda sink: sink.close())
        self.opened.clear()

    def _each(self, tell: Callable[[Sink], None]) -> None:
        for name, sink in list(self.opened.items()):
            try:
                tell(sink)
            except Exception as error:  # a package of others, and its network
                del self.opened[name]
                self.say(
                    f"--log {name}: {type(error).__name__}: {first_line(error)}; the {self.what} goes on without it"
                )


class Sinks(Opened):
    """The sinks of a run."""

    def __init__(self, experiment: Experiment | None, opened: Mapping[str, Sink], say: Callable[[str], None]) -> None:
        super().__init__(opened, say, "run")
        self.experiment = experiment
        self.steps = sum(stage.steps for stage in experiment.recipe.stages) if experiment else 0

    def line(self, line: MetricsLine, time: StepTime | None = None) -> None:
        """What was logged of a step; steps are counted over all batches."""
        self.scalars(line.batch * self.steps + line.step, scalars_of(line, time))

    def images(self, number: int, images: np.ndarray) -> None:
        """The images (n, height, width, 3) of a batch that is done, in network units."""
        if not self.opened or self.experiment is None or number >= MOST_GRIDS:
            return
        chosen = sample_by_class(self.experiment.labels[self.experiment.batches[number]], GRID_IMAGES)
        pixels = grid_image(self.experiment.classifier.to_uint8(images[chosen]))
        self._each(lambda sink: sink.picture((number + 1) * self.steps, pixels))


SILENT = Sinks(None, {}, lambda text: None)
"""Of a run that is told nobody."""


@contextmanager
def logging(
    experiment: Experiment, directory: Path, manifest: Manifest | None, say: Callable[[str], None], part: str = ""
) -> Iterator[Sinks]:
    """The sinks that the run's config asks for, while it is carried out; `part`: which of many processes this one is."""
    recipe = experiment.recipe
    table = resolved_table(recipe, list(experiment.labels), experiment.size)
    opening = opening_of(directory, manifest.started if manifest else None, table, say, part)
    sinks = Sinks(experiment, opened_sinks(recipe.log, opening, "run"), say)
    try:
        yield sinks
    finally:
        sinks.close()


def opening_of(
    directory: Path, begun: str | None, config: dict[str, Any], say: Callable[[str], None], part: str = ""
) -> Opening:
    """What sinks are told of what was `begun` then in `directory`, with that config; `part` as `logging` has it."""
    known = hashlib.sha256(f"{directory.resolve()}\n{begun}\n{part}".encode(errors="surrogateescape")).hexdigest()[:16]
    return Opening(directory.resolve().name + (f"-{part}" if part else ""), known, config, directory / SINKS, say)


def opened_sinks(names: Sequence[str], opening: Opening, what: str) -> dict[str, Sink]:
    """Those of the sinks that could be opened; of another it is said that `what` goes on without it."""
    opened: dict[str, Sink] = {}
    for name in names:
        try:
            opened[name] = OPENERS[name](opening)
        except Exception as error:  # an account that is not there, a server that does not answer
            opening.say(f"--log {name}: {type(error).__name__}: {first_line(error)}; the {what} goes on without it")
    return opened


def scalars_of(line: MetricsLine, time: StepTime | None = None) -> dict[str, float | None]:
    """The numbers of a line by the names that sinks show them under; a slash makes a group."""
    found: dict[str, float | None] = {
        "total": line.total, "accuracy": line.accuracy, "learning_rate": line.learning_rate,
    }  # fmt: skip
    for name, term in line.terms.items():
        found |= {f"terms/{name}": term.value, f"weighted/{name}": term.weighted}
    found |= {f"gradient_norms/{name}": norm for name, norm in (line.gradient_norms or {}).items()}
    for first, row in (line.gradient_cosines or {}).items():
        found |= {f"gradient_cosines/{first}, {second}": cosine for second, cosine in row.items()}
    for place, network in enumerate(line.statistics or ()):
        of = f"_{place}" if len(line.statistics or ()) > 1 else ""
        parts = {"mean": network.mean, "variance": network.variance}
        found |= {f"statistics{of}/{part}": sum(values) / len(values) for part, values in parts.items() if values}
    if time is not None:
        found |= {"steps_per_second": time.steps_per_second, "memory": time.memory}
    return found
