"""One contestant of `benchmarks.recognition` in a process of its own: `python -m benchmarks.contestants NAME FOLDER CASE.json`.

Snapshots' pictures and, at the end, moments.json lie in FOLDER; NVlabs' programs take their network from beside it.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import problem
from jinv.errors import JinvError
from jinv.recipe.recipe import Recipe

CONTESTANTS = ("nvlabs_eager", "nvlabs_compiled", "jinv")
CLASSES = {
    "cifar10": tuple(range(10)),
    # Those that NVlabs' program is published with.
    "imagenet": (
        1, 933, 946, 980, 25, 63, 92, 94, 107, 985, 151, 154, 207, 250, 270, 277, 283, 292, 294, 309, 311, 325, 340, 360,
        386, 402, 403, 409, 530, 440, 468, 417, 590, 670, 817, 762, 920, 949, 963, 967, 574, 487,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What all contestants are given. batch: None is each recipe's own; shrink: divides every recipe's steps."""

    name: str
    network: str
    setting: str
    config: str
    batches: int = 1
    batch: int | None = None
    shrink: int = 1
    every: int = 50


class Moment(NamedTuple):
    """A snapshot of a batch: where it is in the run, the seconds of all steps so far, and the file of its pictures."""

    batch: int
    stage: int
    stage_step: int
    step: int
    seconds: float
    file: str


def labels_of(case: Case, images: int) -> np.ndarray:
    """The class of each image, over and over again."""
    classes = np.asarray(CLASSES[case.name], np.int32)
    return np.resize(classes, images)


def jinv_recipe(case: Case) -> Recipe:
    """jinv's config for the case's network, classes and size."""
    from jinv.recipe.read import check_config, read_table

    path = Path(case.config)
    table = read_table(path)
    own = check_config(table, where=str(path), folder=path.parent)  # so all that is changed below is there
    batch = case.batch or own.image.batch
    labels = labels_of(case, batch * case.batches).tolist()
    table["image"] |= {"labels": labels, "count": len(labels), "batch": batch}
    table["stages"] = [stage | {"steps": max(stage["steps"] // case.shrink, 2)} for stage in table["stages"]]
    for stage in table["stages"]:  # a warm-up is no longer than its stage
        if isinstance(rate := stage.get("learning_rate"), dict) and "warmup" in rate:
            rate["warmup"] = rate["warmup"] // case.shrink
    table |= {"model": case.network, "log_every": case.every, "evaluate": {}}
    return check_config(table, where=str(path), folder=path.parent)


def run_jinv(case: Case, folder: Path) -> Iterator[Moment]:
    """jinv's run: its snapshots, as `jinv synthesize` takes its steps."""
    import jax

    from jinv.experiment.experiment import load_experiment
    from jinv.runs.allocator import keep_freed_memory

    keep_freed_memory()
    experiment = load_experiment(jinv_recipe(case))
    with experiment.precision():
        for number in range(len(experiment.batches)):
            seconds, started = 0.0, time.perf_counter()
            for snapshot in experiment.snapshots(number):
                jax.block_until_ready(snapshot.image)
                seconds += time.perf_counter() - started
                pictures = experiment.classifier.to_uint8(np.asarray(snapshot.image))
                place = (number, snapshot.stage, snapshot.stage_step, snapshot.step)
                yield _saved(folder, Moment(*place, seconds, f"{number}_{snapshot.step}.npy"), pictures)
                started = time.perf_counter()


def run_nvlabs(case: Case, folder: Path, compiled: bool) -> Iterator[Moment]:
    """NVlabs' run, of weights that lie in `folder`."""
    from benchmarks import nvlabs
    from jinv.core.pixels import to_uint8

    arrays, weights = problem.read(folder.parent / "network.npz")
    setting = nvlabs.SETTINGS[case.setting].shrunk(case.batch, case.shrink)
    mean, std = arrays["mean"], arrays["std"]
    program = nvlabs.Program(str(arrays["architecture"]), weights, setting, compiled=compiled)
    labels = labels_of(case, setting.batch * case.batches).reshape(case.batches, -1)
    compiling = program.warm_up(setting.batch)  # on the first batch's clock, as jinv's compiling is
    for number, own in enumerate(labels):
        for mark in program.run(own, (-mean / std, (1 - mean) / std), case.every, seed=number):
            place = (number, mark.stage, mark.stage_step, mark.step)
            pictures = to_uint8(mark.images, tuple(mean), tuple(std))
            seconds = mark.seconds + (0.0 if number else compiling)
            yield _saved(folder, Moment(*place, seconds, f"{number}_{mark.step}.npy"), pictures)


def _saved(folder: Path, moment: Moment, pictures: np.ndarray) -> Moment:
    np.save(folder / moment.file, pictures)
    return moment


def write_network(name: str, path: Path) -> tuple[str, ...]:
    """The network's tensors as PyTorch calls and lays them out, and its units; returns its classes' names."""
    from flax.traverse_util import flatten_dict

    from jinv.weights.load import load
    from jinv_convert.families.rules import map_state_dict
    from jinv_convert.reference import make_reference

    classifier = load(name)
    flat = {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(dict(classifier.variables)).items()}
    shapes = {key: tuple(value.shape) for key, value in make_reference(classifier.architecture).state_dict().items()}
    weights = {}
    for key, target in map_state_dict(classifier.architecture, shapes).items():
        array = flat[target.path]
        weights[f"weights/{key}"] = array.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim])
    np.savez(path, architecture=classifier.architecture, mean=classifier.mean, std=classifier.std, **weights)  # type: ignore[arg-type]
    return classifier.class_names


def main() -> None:
    """The process."""
    name, folder, case = sys.argv[1], Path(sys.argv[2]), Case(**json.loads(sys.argv[3]))
    run = run_jinv(case, folder) if name == "jinv" else run_nvlabs(case, folder, name == "nvlabs_compiled")
    try:
        moments = [moment._asdict() for moment in run]
    except JinvError as error:
        print(f"recognition: {name}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    (folder / "moments.json").write_text(json.dumps(moments))


if __name__ == "__main__":
    main()
