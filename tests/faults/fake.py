"""A synthesizer that computes nothing: images are a function of seed, image and step alone, a step is a line of NumPy.

Everything around it is jinv's own, from the recipe to the sealed directory, so that a whole run takes milliseconds and can
be repeated with a fault at each of its file operations.
"""

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console

import jinv.report.page
import jinv.report.settings_page
import jinv.runs.completion
import jinv.runs.records
import jinv.runs.repair
import jinv.runs.sweep
import jinv.runs.sweep_settings
import jinv.runs.synthesize
import jinv.runs.worker
from jinv.core.loop import Resume, Seen, Snapshot
from jinv.core.step import Metrics
from jinv.errors import Interrupted
from jinv.experiment.experiment import Experiment
from jinv.experiment.shared import Shared
from jinv.recipe.read import check_config
from jinv.recipe.recipe import Recipe
from jinv.recipe.variations import Variation
from jinv.record.claims import Claims
from jinv.runs.sweep_part import Part
from jinv.runs.units import Units, Writing
from tests.networks import tiny_classifier

UNSTABLE, HOPELESS = 101, 102
"""Seeds with which the second unit diverges at its fourth step: by the whole learning rate, or by any."""

SHARED: list[Shared] = []


def recipe(**changes: Any) -> Recipe:
    """Three units of two, two and one image of 6 px in two stages, a line and a checkpoint every second step."""
    image = {"size": 6, "labels": [3, 8, 1, 2, 4], "batch": 2} | changes.pop("image", {})
    table = {
        "model": "tiny",
        "log_every": 2,
        "image": image,
        "stages": [{"size": 4, "steps": 2}, {"size": 6, "steps": 3}],
        "terms": {"cross_entropy": {}},
        "checkpoint": {"every_steps": 2},
    }
    return check_config(table | changes)


def shared() -> Shared:
    """A network that nobody asks, made once."""
    if not SHARED:
        SHARED.append(Shared({"tiny": replace(tiny_classifier(), min_size=4)}))
    return SHARED[0]


def quiet() -> Console:
    """Says it to nobody."""
    return Console(file=io.StringIO(), width=200)


def start(experiment: Experiment, number: int) -> np.ndarray:
    """The images (n, height, width, 3) that a unit starts from."""
    ids = range(len(experiment.labels))[experiment.batches[number]]
    return np.stack([_drawn(experiment, index, 0) for index in ids])


def snapshots(experiment: Experiment, number: int, *, resume: Any = None, due: Any = None) -> Any:
    """As `Experiment.snapshots`: every step needs the state of the one before, so that what goes on elsewhere is found."""
    chosen, pace = experiment.batches[number], experiment.pace
    ids = range(chosen.start, chosen.stop)
    before, first = 0, resume.stage if resume else 0
    image = start(experiment, number) if resume is None or resume.image is None else np.array(resume.image)
    for index, stage in enumerate(experiment.recipe.stages):
        done, moment = 0, np.zeros_like(image)
        if index == first and resume is not None and resume.leaves is not None:
            image, moment, done = np.array(resume.leaves[0]), np.array(resume.leaves[1]), int(resume.leaves[2])
        for step in range(done + 1, stage.steps + 1) if index >= first else ():
            draws = np.stack([_drawn(experiment, image_id, before + step) for image_id in ids])
            moment = np.float32(0.5) * moment + draws
            image = np.float32(0.75) * image + np.float32(0.25) * moment
            total = float(np.abs(image).mean()) * experiment.rate_scale
            if number == 1 and before + step > 3 and _diverges(experiment):
                image, total = image * np.float32(np.nan), np.nan
            every, over = pace.checkpoint_every, before + step
            logged = step == stage.steps or step % pace.log_every == 0 or bool(every and over % every == 0)
            if logged or (due is not None and due()):
                metrics: Any = Metrics(total, {"cross_entropy": (total, total)}, 0.5)
                state: Any = image, moment, np.int32(step)
                yield Snapshot(over, index, step, image, metrics, 0.1, step == stage.steps, state, Seen(), logged)
        before += stage.steps


def side_by_side(part: Part, number: int, *, resume: Any = None, due: Any = None) -> Any:
    """As `Part.snapshots`: each setting's own, together."""
    alone = []
    for k, run in enumerate(part.members):
        mine = None
        if resume is not None:
            leaves = None if resume.leaves is None else [leaf[k] for leaf in resume.leaves]
            mine = Resume(resume.stage, leaves, None if resume.image is None else resume.image[k])
        alone.append(snapshots(run.experiment, number, resume=mine))
    for moments in zip(*alone, strict=True):
        total = np.array([moment.metrics.total for moment in moments])
        metrics: Any = Metrics(total, {"cross_entropy": (total, total)}, np.full(len(moments), 0.5))
        state: Any = tuple(np.stack(leaves) for leaves in zip(*(moment.state for moment in moments), strict=True))
        image = np.stack([moment.image for moment in moments])
        rates = np.array([moment.learning_rate for moment in moments])
        yield moments[0]._replace(image=image, metrics=metrics, learning_rate=rates, state=state)


def begin(writing: Writing, write: Callable[[], None]) -> None:
    """As `Writing.begin`, but nothing else happens meanwhile: operations come in the same order each time."""
    write()


@contextmanager
def fake_synthesizer(*, beside: bool = False) -> Iterator[None]:
    """While it lasts no program is traced, compiled or run; a recipe is checked once, versions and templates are read once.

    beside: units are written while the next one is computed, as always; otherwise in between, so that what happens comes
    in the same order each time.
    """
    checked: dict[str, Experiment] = {}

    def check_run(recipe: Recipe, *_: Any, **options: Any) -> Experiment:
        if (key := repr(recipe)) not in checked:
            checked[key] = real_check_run(recipe, shared(), **options)
        return checked[key]

    real_check_run = jinv.runs.synthesize.check_run
    environment = functools.cache(jinv.report.page.environment)
    with ExitStack() as stack:
        for where, name, instead in (
            (Experiment, "snapshots", snapshots),
            (Experiment, "start", start),
            (Experiment, "check_traces", lambda experiment: None),
            (Writing, "begin", Writing.begin if beside else begin),
            (Part, "snapshots", side_by_side),
            (Part, "check_traces", lambda part: None),
            (jinv.runs.synthesize, "check_run", check_run),
            (jinv.runs.sweep_settings, "check_run", check_run),
            (jinv.runs.repair, "check_run", check_run),
            (jinv.runs.records, "version", functools.cache(version)),
            (jinv.report.page, "environment", environment),
            (jinv.report.settings_page, "environment", environment),
        ):
            stack.enter_context(mock.patch.object(where, name, instead))
        yield


def synthesize(directory: Path, *, resume: bool = False, replace: bool = False, **changes: Any) -> None:
    """`jinv synthesize`, of a recipe with `changes`; within `fake_synthesizer`."""
    jinv.runs.synthesize.run(recipe(**changes), directory, resume=resume, replace=replace, console=quiet())


def sweep(directory: Path, *, resume: bool = False, seeds: Sequence[int] = (0, 1)) -> None:
    """`jinv sweep` of a setting of two units per seed, in one program; within `fake_synthesizer`."""
    recipes = [recipe(seed=seed, image={"labels": [3, 8, 1]}) for seed in seeds]
    variations = [Variation(k, f"{k}_seed={one.seed}", {"seed": one.seed}, one) for k, one in enumerate(recipes)]
    jinv.runs.sweep.run_sweep(variations, directory, resume=resume, console=quiet())


def work_on(directory: Path, token: str = "first", *, alone: bool = False, **changes: Any) -> None:
    """`jinv worker`, under that name, for which all others live, or where it is `alone` none; within `fake_synthesizer`.

    It ends where it would have to wait for others.

    Raises:
      Interrupted: it would have had to.
    """

    def waits(units: Units) -> None:
        raise Interrupted(f"{directory}: others are at work")

    def is_abandoned(claims: Claims, number: int, path: Path) -> bool:
        return alone

    with (
        mock.patch.object(jinv.runs.worker, "new_token", lambda: token),
        mock.patch.object(Claims, "_is_abandoned", is_abandoned),
        mock.patch.object(Units, "_pause", waits),
        mock.patch.object(Units, "_in_turn", lambda units, remaining: remaining),
    ):
        jinv.runs.synthesize.work_on(recipe(**changes), directory, console=quiet())


def repair(directory: Path) -> None:
    """`jinv verify --repair`."""
    jinv.runs.repair.repair(directory, quiet())


def merge(directory: Path) -> None:
    """`jinv merge`."""
    jinv.runs.completion.merge(directory, console=quiet())


def _diverges(experiment: Experiment) -> bool:
    seed = experiment.recipe.seed
    return seed == HOPELESS or (seed == UNSTABLE and experiment.rate_scale == 1)


def _drawn(experiment: Experiment, image: int, step: int) -> np.ndarray:
    height, width = experiment.size
    random = np.random.default_rng((experiment.recipe.seed, image, step))
    return random.standard_normal((height, width, 3), np.float32)
