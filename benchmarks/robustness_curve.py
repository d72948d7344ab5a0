"""What robustness makes of a network's images: who recognises them, and how varied they are, along a curve of eps.

    python -m benchmarks.robustness_curve --twins DIR --sibling resnet56-4bfd9763.th --stranger resnet8_cifar10.onnx \\
        --reference train.zip --real test.zip --out RUNS

`DIR` is what `benchmarks.robust_twins` wrote. Every twin is converted and inverted by one recipe, and the pictures are
judged, as 8-bit files, by a stranger (an ONNX classifier of another family, trained by others on raw pixels, 0 to 255) and
by a sibling, in whose features they are compared with real images. As many real images, of other files than the reference, go the
same way: the ceiling. Writes a JSON per network and the figure; `jinv report RUNS/eps* --sheet FILE.jpg` shows the pictures.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.labelled_images import CLASSES, SIZE, Labelled, read_labelled
from benchmarks.refusals import refuse_places
from benchmarks.robustness_figure import plot, table
from benchmarks.robustness_records import Point, Recognition, Twin, read_record, write_record
from jinv.errors import JinvError, ModelMismatchError, UsageError
from jinv.images.metrics import high_frequency_energy
from jinv.judge import assessment
from jinv.judge.judge import judge
from jinv.judge.metrics import (
    kernel_distance,
    mean_pairwise_distance,
    precision_recall_density_coverage,
)
from jinv.judge.onnx_judge import load_onnx
from jinv.judge.picture_metrics import mean_interval
from jinv.models.classifier import Classifier
from jinv.recipe.read import read_config
from jinv.record.estimate import Estimate
from jinv.record.run import open_run
from jinv.runs.synthesize import run
from jinv.weights.cache import file_sha256
from jinv.weights.load import load
from jinv_convert.pipeline import convert_checkpoint

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "quality" / "cifar10_robust.toml"
BATCH = 200
RESULTS = ROOT / "benchmarks" / "results" / "robustness_curve"
FIGURE = ROOT / "docs" / "gallery" / "robustness_curve.svg"


class Judge(NamedTuple):
    """Whom one asks: logits (n, 10) of uint8 pictures (n, 32, 32, 3)."""

    name: str
    sha256: str
    logits: Callable[[np.ndarray], np.ndarray]


class Sibling(NamedTuple):
    """The network in whose features pictures are compared, and the features of the real ones."""

    name: str
    classifier: Classifier
    reference: np.ndarray


PIXELS: dict[str, Any] = {
    "size": SIZE, "white": 255, "mean": [0, 0, 0], "std": [1, 1, 1], "layout": "NCHW", "channels": "RGB",
    "class_names": "cifar10", "outputs": "logits",
}  # fmt: skip
"""What the stranger's ONNX file is given and gives, as its table would say."""


def onnx_judge(path: Path) -> Judge:
    """A classifier of RGB pixels 0 to 255, N x 3 x 32 x 32, in an ONNX file.

    Raises:
      UsageError: not one that takes 32 px and has 10 outputs. Others as `load_onnx`.
    """
    try:
        judge = load_onnx(path, {path.stem: PIXELS})
    except ModelMismatchError as error:
        raise UsageError(
            f"{path}: takes or gives something else than raw CIFAR-10 pixels and logits: {error}"
        ) from None
    return Judge(judge.architecture, judge.source["sha256"], judge.logits)


def recognition(name: str, sha256: str, logits: np.ndarray, labels: np.ndarray) -> Recognition:
    """What these logits say of images of these classes."""
    said = assessment.recognition(logits, labels)
    return Recognition(judge=name, sha256=sha256, count=len(labels), top1=said.top1, confidence=said.mean_confidence)


def distance_within_class(features: np.ndarray, labels: np.ndarray, *, resamples: int = 200, seed: int = 0) -> Estimate:
    """Mean feature distance between two images of a class, averaged over classes; half-sampling's 95 % interval.

    Halves of every class, drawn without replacement, scatter around the value as the value does around its own mean
    (Politis and Romano 1994; a bootstrap would pair images with themselves, at distance 0).
    """

    def mean(rows: np.ndarray) -> float:
        return float(np.mean(list(mean_pairwise_distance(features[rows], labels[rows]).values())))

    value, generator = mean(np.arange(len(labels))), np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    scattered = []
    for _ in range(resamples):
        halves = [generator.choice(rows, max(2, len(rows) // 2), replace=False) for rows in members]
        scattered.append(mean(np.concatenate(halves)) - value)
    low, high = np.quantile(scattered, [0.025, 0.975])
    return Estimate(value, value - float(high), value - float(low))


def point(images: Labelled, stranger: Judge, sibling: Sibling, twin: Twin | None = None) -> Point:
    """What the judges say of these images; `twin` is the network that they come from, None for real ones."""
    seen = judge(sibling.classifier, images.pictures, statistics=False)
    assert seen.features is not None  # of a Classifier they are always there
    sha256 = str(sibling.classifier.source.get("source_sha256"))
    return Point(
        eps_255=None if twin is None else twin.eps_255,
        count=len(images.labels),
        stranger=recognition(stranger.name, stranger.sha256, stranger.logits(images.pictures), images.labels),
        sibling=recognition(sibling.name, sha256, seen.logits, images.labels),
        reference=len(sibling.reference),
        overlap=precision_recall_density_coverage(sibling.reference, seen.features),
        kernel_distance=kernel_distance(sibling.reference, seen.features),
        distance_within_class=distance_within_class(seen.features, images.labels),
        high_frequency_energy=mean_interval([high_frequency_energy(picture) for picture in images.pictures]),
        twin=twin,
    )


def synthesize(twin: Twin, checkpoint: Path, out: Path, count: int) -> Labelled:
    """`count` images out of a twin by `RECIPE`, in the run `out/eps<N>`, continued where it stopped.

    Raises:
      UsageError: the checkpoint is not the one that the record speaks of. JinvError: as `convert_checkpoint` and `run`.
    """
    if file_sha256(checkpoint) != twin.sha256:
        raise UsageError(f"{checkpoint}: is not the file whose sha256 is in {checkpoint.stem}.json")
    converted = out / f"{checkpoint.stem}.safetensors"
    convert_checkpoint(checkpoint, converted)
    changed = [
        f"model={converted.resolve()}",
        f"image.count={count}",
        f"image.batch={min(count, BATCH)}",
        "evaluate.verifiers=[]",
    ]
    finished = run(read_config(RECIPE, changed), out / checkpoint.stem, resume=True)
    record = open_run(finished.path)
    return Labelled(record.pictures, record.labels)


def read_twins(folder: Path) -> list[tuple[Twin, Path]]:
    """Every twin's record and weights in `folder`, weakest first.

    Raises:
      UsageError: there is none.
    """
    found = [(read_record(path, Twin), path.with_suffix(".pt")) for path in folder.glob("eps*.json")]
    if not found:
        raise UsageError(f"{folder}: no eps*.json in it; benchmarks.robust_twins writes them")
    return sorted(found, key=lambda pair: pair[0].eps_255)


def measure(options: argparse.Namespace) -> list[Point]:
    """Real images' point first, then every twin's; each is written as soon as it is there.

    Raises:
      JinvError: as what it calls.
    """
    twins, stranger = read_twins(options.twins), onnx_judge(options.stranger)
    options.out.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    converted = options.out / "sibling.safetensors"
    convert_checkpoint(options.sibling, converted)
    classifier = load(str(converted))
    reference = judge(classifier, read_labelled(options.reference).pictures, statistics=False).features
    assert reference is not None
    sibling = Sibling(classifier.architecture, classifier, reference)
    points = [point(read_labelled(options.real, options.count // CLASSES), stranger, sibling)]
    write_record(options.results / f"{points[0].name}.json", points[0])
    for twin, checkpoint in twins:
        images = synthesize(twin, checkpoint, options.out, options.count)
        points.append(point(images, stranger, sibling, twin))
        write_record(options.results / f"{points[-1].name}.json", points[-1])
    return points


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness_curve", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--twins", type=Path, required=True, metavar="DIR", help="eps*.pt and eps*.json")
    parser.add_argument("--stranger", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--sibling", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--reference", type=Path, required=True, metavar="IMAGES", help="real images to compare with")
    parser.add_argument("--real", type=Path, required=True, metavar="IMAGES", help="other real images: the ceiling")
    parser.add_argument("--count", type=int, default=200, help="images of each network, a multiple of 10")
    parser.add_argument("--out", type=Path, required=True, metavar="RUNS", help="converted networks and runs")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--figure", type=Path, default=FIGURE, metavar="FILE.svg")
    options = parser.parse_args(arguments)
    refuse_places(parser, options, "figure")
    if options.count < 2 * CLASSES or options.count % CLASSES:
        parser.error(f"--count {options.count}: a multiple of {CLASSES}, at least {2 * CLASSES}")
    try:
        points = measure(options)
        plot(points, options.figure)
    except JinvError as error:
        parser.error(str(error))
    print(table(points), end="")


if __name__ == "__main__":
    main()
