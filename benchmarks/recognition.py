"""Time to recognition: seconds per image that a stranger recognises, by jinv's best recipe and by NVlabs' published one.

    python -m benchmarks.recognition cifar10 --network resnet20_cifar10.safetensors --judge resnet8_cifar10.onnx \\
        [--batches 1] [--json FILE] [--picture FILE.png]
    python -m benchmarks.recognition imagenet --judge mobilenet_v2.onnx --batches 4

One run per contestant on the same network and classes, one after another, each in a process of its own with all cores: NVlabs'
in eager and in compiled PyTorch, jinv's by the config that its gallery is made with. Each makes batches of its recipe's own
size. Snapshots of the run are judged when all is done; only steps are on the clock. What the first steps of a stage take
longer than those after them is compiling, and told apart. PyTorch's is done ahead of them, in every form that a step has.
A snapshot is what the run had by then, its schedules half done: not what a recipe of so many steps would give.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS, Case, Moment, jinv_recipe, labels_of, write_network
from benchmarks.refusals import refuse_amounts, refuse_places
from jinv.errors import JinvError, ModelMismatchError
from jinv.weights.labels import class_names

CONFIGS = Path(__file__).parents[1] / "configs/quality"
PIXELS = {"white": 255, "layout": "NCHW", "channels": "RGB", "outputs": "logits"}
JUDGES = {
    "cifar10": PIXELS | {"size": 32, "mean": [0] * 3, "std": [1] * 3, "class_names": "cifar10"},
    "imagenet": PIXELS | {"size": 224, "mean": [128] * 3, "std": [128] * 3, "class_names": "imagenet"},
}
"""What the ONNX judges of each case are given."""
RECIPES = {"cifar10": CONFIGS / "cifar10_standard.toml", "imagenet": CONFIGS / "lite0.toml"}


def seconds_at(moments: Sequence[Moment]) -> dict[int, tuple[float, float]]:
    """Of one batch: step -> (seconds of steps, of compiling) until then.

    The steps before a stage's first snapshot took as long, each, as those between it and the stage's last one.
    """
    found, steps_seconds, compiling, before = {}, 0.0, 0.0, 0.0
    for _, stage in groupby(moments, key=lambda moment: moment.stage):
        own = list(stage)
        first, last = own[0], own[-1]
        spent = first.seconds - before
        if len(own) > 1:
            each = (last.seconds - first.seconds) / (last.stage_step - first.stage_step)
            spent = min(spent, each * first.stage_step)
        compiling += first.seconds - before - spent
        for moment in own:
            found[moment.step] = steps_seconds + spent + moment.seconds - first.seconds, compiling
        steps_seconds, before = found[last.step][0], last.seconds
    return found


def curve(moments: Sequence[Moment], right: Sequence[int], images: Sequence[int]) -> list[dict[str, Any]]:
    """Per step that every batch has a snapshot of: seconds per image, images, how many were recognised, seconds per such one."""
    batches = {number: seconds_at(list(own)) for number, own in groupby(moments, key=lambda moment: moment.batch)}
    rows = []
    for step in sorted(set.intersection(*(set(times) for times in batches.values()))):
        here = [index for index, moment in enumerate(moments) if moment.step == step]
        seconds = sum(times[step][0] for times in batches.values())
        count, recognised = sum(images[index] for index in here), sum(right[index] for index in here)
        rows.append(
            {
                "step": step, "images": count, "recognised": recognised, "share": recognised / count,
                "seconds_per_image": seconds / count,
                "compiling_seconds": sum(times[step][1] for times in batches.values()),
                "seconds_per_recognised": seconds / recognised if recognised else None,
            }
        )  # fmt: skip
    return rows


def compare(curves: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """How many times sooner jinv is: per recognised image at the recipes' ends, and until it first has the other's final share."""
    found = {}
    for name, rows in curves.items():
        if name == "jinv" or "jinv" not in curves:
            continue
        theirs, ours = rows[-1], curves["jinv"][-1]
        by_both = theirs["seconds_per_recognised"] and ours["seconds_per_recognised"]
        reached = next((row for row in curves["jinv"] if row["share"] >= theirs["share"]), None)
        found[name] = {
            "per_recognised": theirs["seconds_per_recognised"] / ours["seconds_per_recognised"] if by_both else None,
            "to_the_same_share": theirs["seconds_per_image"] / reached["seconds_per_image"] if reached else None,
        }
    return found


def contest(name: str, case: Case, folder: Path) -> list[Moment]:
    """A contestant's run in a process of its own."""
    place = folder / name
    place.mkdir()
    command = [sys.executable, "-m", "benchmarks.contestants", name, str(place), json.dumps(asdict(case))]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why
    return [Moment(**moment) for moment in json.loads((place / "moments.json").read_text())]


def measure(case: Case, judge_file: Path, names: Sequence[str]) -> dict[str, Any]:
    """The whole result."""
    from jinv.judge.judge import judge
    from jinv.judge.onnx_judge import load_onnx

    machine.share_card()
    stranger = load_onnx(judge_file, {judge_file.stem: JUDGES[case.name]})
    load, curves = machine.load(), {}
    with tempfile.TemporaryDirectory(prefix="jinv-recognition-") as made:
        folder = Path(made)
        if write_network(case.network, folder / "network.npz") != class_names(case.name):
            raise ModelMismatchError(f"--network {case.network}: its classes are not those of {case.name}")
        for name in names:
            moments = contest(name, case, folder)
            right, images = [], []
            for moment in moments:
                pictures = np.load(folder / name / moment.file)
                said = judge(stranger, pictures, statistics=False).logits.argmax(1)
                first = moment.batch * len(pictures)
                right.append(int((said == labels_of(case, first + len(pictures))[first:]).sum()))
                images.append(len(pictures))
            curves[name] = curve(moments, right, images)
            print(line(name, curves[name][-1]), flush=True)
    facts = asdict(case) | {"network": Path(case.network).stem, "config": Path(case.config).name}
    return facts | {
        "judge": judge_file.stem, "contestants": curves, "ratios": compare(curves), "load": load,
        "machine": machine.describe(),
    }  # fmt: skip


def line(name: str, end: dict[str, Any]) -> str:
    """A contestant's end as text."""
    each = end["seconds_per_recognised"]
    return (
        f"{name:16} {end['recognised']} of {end['images']} recognised, {end['seconds_per_image']:.3f} s per image, "
        f"{'none' if each is None else f'{each:.3f} s'} per recognised one; compiling {end['compiling_seconds']:.1f} s"
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """The recognised share against seconds per image."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5))
    for name, rows in result["contestants"].items():
        axis.plot(
            [row["seconds_per_image"] for row in rows], [row["share"] for row in rows], marker="o", ms=3, label=name
        )
    axis.set(xscale="log", xlabel=f"seconds of {result['machine']['cores']} cores per image", ylim=(0, 1),
             ylabel=f"share that {result['judge']} recognises", title=f"{result['network']}, {result['name']}")  # fmt: skip
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recognition", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("case_name", choices=JUDGES, metavar="cifar10|imagenet")
    parser.add_argument("--network", metavar="FILE", help="converted; for imagenet the embedded efficientnet_lite0")
    parser.add_argument("--judge", type=Path, metavar="FILE.onnx")
    parser.add_argument("--config", type=Path, help="jinv's recipe, instead of configs/quality's")
    parser.add_argument("--setting", help="NVlabs' for CIFAR-10", choices=("cifar10_paper", "cifar10_pictures"))
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS, metavar="NAME")
    for name, default, words in (("batches", 1, "that each makes"), ("batch", None, "images in one; each recipe's own"),
                                 ("shrink", 1, "divides all steps: for a try"), ("every", 50, "steps of a snapshot")):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=words)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    return _measure(parser, options)


def _measure(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    name = options.case_name
    network = options.network or ("efficientnet_lite0" if name == "imagenet" else None)
    if network is None or options.judge is None:
        parser.error("--network and --judge: which files?" if network is None else "--judge: which FILE.onnx?")
    refuse_amounts(parser, options, "batches", "batch", "shrink", "every")
    refuse_places(parser, options, "json")
    refuse_places(parser, options, "picture", suffix=".png")
    setting = options.setting or ("imagenet" if name == "imagenet" else "cifar10_pictures")
    network = str(Path(network).resolve()) if Path(network).exists() else network
    config = str(options.config or RECIPES[name])
    case = Case(name, network, setting, config, options.batches, options.batch, options.shrink, options.every)
    try:
        if "jinv" in options.only:
            jinv_recipe(case)  # it is the last whose turn it is
        result = measure(case, options.judge, options.only)
    except JinvError as error:
        print(f"recognition: {error}", file=sys.stderr)
        return error.exit_code
    for other, ratios in result["ratios"].items():
        said = ", ".join(f"{key.replace('_', ' ')} {'none' if v is None else f'{v:.1f}x'}" for key, v in ratios.items())
        print(f"jinv against {other}: {said}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        plot(result, options.picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
