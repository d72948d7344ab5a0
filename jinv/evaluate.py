"""Independent networks judge a run's images, as 8-bit PNG files: what a user has, not what the optimizer saw.

Images of another size than a verifier's own are resized to it, bicubic and antialiased; what has another aspect is cut
at the centre. Every image is judged by itself, whatever batch it is computed in.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jinv.core.metrics import norm_distances, top_k_correct, wilson_interval
from jinv.core.types import NormStats
from jinv.errors import ModelMismatchError, NumericalError, StorageError, UsageError
from jinv.images import fit_image, read_image
from jinv.models.classifier import Classifier
from jinv.runs import RunDirectory
from jinv.weights import load

BATCH = 16


class RunImages(NamedTuple):
    """A run's pictures: file names relative to the run, uint8 pixels, labels and class names, one each per image."""

    names: list[str]
    pixels: list[np.ndarray]
    labels: np.ndarray
    class_names: list[str]


class Judgement(NamedTuple):
    """What a network says of n images: logits (n, classes), and its batch-norm statistics pooled over all of them."""

    logits: np.ndarray
    norm_stats: tuple[NormStats, ...]


def evaluate_run(run_dir: str | Path, verifiers: Sequence[str], reference: str | Path | None = None) -> dict[str, Any]:
    """Let `verifiers` (names or converted files) judge the run; writes and returns `evaluation.json`.

    Raises:
      UsageError: no verifier, or an unknown one. StorageError: no run, or images missing from it.
      ModelMismatchError: a verifier with other classes than the run's. NumericalError: logits that are not finite.
    """
    if not verifiers:
        raise UsageError("evaluate: no verifier is given, for example efficientnet_lite1")
    if reference is not None:
        raise UsageError("evaluate: --reference is not supported yet")
    run = RunDirectory(Path(run_dir))
    manifest = run.manifest()
    if manifest is None:
        raise StorageError(f"{run_dir}: not a run directory (no manifest.json)")
    images = read_run_images(run.path, manifest)
    evaluation: dict[str, Any] = {"verifiers": {}}
    for name in dict.fromkeys(str(v) for v in verifiers):
        classifier = load(name)
        check_classes(name, classifier, images)
        verdict = judge_run(classifier, images)
        # Its own opinion of images made to please it is no evidence; the report says so beside the figure.
        inverted = manifest.get("model", {}).get("sha256")
        verdict["independent"] = inverted is None or verdict["sha256"] != inverted
        evaluation["verifiers"][_unique_name(name, evaluation["verifiers"])] = verdict
    run.write_json("evaluation.json", evaluation)
    return evaluation


def read_run_images(run_dir: Path, manifest: dict[str, Any]) -> RunImages:
    """The images that the manifest promises.

    Raises:
      StorageError: fewer or more images than labels. UnsafeInputError: a damaged one.
    """
    labels, class_names = manifest["labels"], manifest["class_names"]
    paths = sorted((run_dir / "images").glob("*.png"))
    if [path.name[:6] for path in paths] != [f"{i:06d}" for i in range(len(labels))]:
        raise StorageError(f"{run_dir / 'images'}: {len(paths)} images, the manifest has {len(labels)} labels")
    names = [f"images/{path.name}" for path in paths]
    return RunImages(names, [read_image(path) for path in paths], np.asarray(labels, np.int64), list(class_names))


def check_classes(name: str, classifier: Classifier, images: RunImages) -> None:
    """Refuse a verifier that numbers other classes than the run's network.

    Raises:
      ModelMismatchError: a label's name differs between the two.
    """
    known = classifier.class_names
    for label, class_name in zip(images.labels, images.class_names, strict=True):
        if label >= len(known) or known[label] != class_name:
            theirs = repr(known[label]) if label < len(known) else f"nothing, it has {len(known)} classes"
            raise ModelMismatchError(f"verifier {name}: class {label} is {theirs}, in the run it is {class_name!r}")


def judge_run(classifier: Classifier, images: RunImages) -> dict[str, Any]:
    """One verifier's entry of `evaluation.json`; raises as `judge`."""
    judgement = judge(classifier, images.pixels)
    probabilities = _softmax(judgement.logits)
    predicted = judgement.logits.argmax(axis=1)
    correct = top_k_correct(judgement.logits, images.labels)
    in_top5 = top_k_correct(judgement.logits, images.labels, min(5, judgement.logits.shape[1]))
    count = len(images.labels)
    per_image = [
        {
            "image": images.names[i],
            "label": int(label),
            "label_confidence": float(probabilities[i, label]),
            "predicted": int(predicted[i]),
            "class_name": classifier.class_names[predicted[i]],
            "confidence": float(probabilities[i, predicted[i]]),
            "correct": bool(correct[i]),
        }
        for i, label in enumerate(images.labels)
    ]
    return {
        "architecture": classifier.architecture,
        "sha256": classifier.source.get("source_sha256"),
        "input_size": classifier.input_size,
        "count": count,
        "top1": float(correct.mean()),
        "interval": list(wilson_interval(int(correct.sum()), count)),
        "top5": float(in_top5.mean()),
        "top5_interval": list(wilson_interval(int(in_top5.sum()), count)),
        "norm_distances": norm_distances(judgement.norm_stats).tolist(),
        "per_image": per_image,
    }


def judge(classifier: Classifier, pixels: Sequence[np.ndarray]) -> Judgement:
    """Run uint8 pictures of any sizes through `classifier` at its own input size.

    Raises:
      NumericalError: logits that are not finite.
    """
    size = (classifier.input_size, classifier.input_size)

    @jax.jit
    def forward(variables: Any, batch: jax.Array) -> tuple[jax.Array, tuple[NormStats, ...]]:
        # One image at a time under vmap: each has its own statistics, and those of the padding are dropped below.
        result = jax.vmap(lambda image: classifier.forward(variables, image[None]))(batch)
        return result.logits[:, 0], result.norm_stats

    batch_size = min(BATCH, len(pixels))
    logits, sums = [], None
    for start in range(0, len(pixels), batch_size):
        chunk = np.stack([fit_image(image, size) for image in pixels[start : start + batch_size]])
        real = len(chunk)
        # The last batch is filled up so that the network is compiled once.
        chunk = np.concatenate([chunk, np.repeat(chunk[:1], batch_size - real, axis=0)])
        chunk_logits, stats = forward(classifier.variables, classifier.preprocess(chunk))
        logits.append(np.asarray(chunk_logits, np.float64)[:real])
        if not np.isfinite(logits[-1]).all():
            raise NumericalError(f"{classifier.architecture}: its logits of these images are not finite")
        sums = _add_moments(sums, stats, real)
    return Judgement(np.concatenate(logits), _pooled(sums or [], len(pixels)))


def _add_moments(sums: list[Any] | None, stats: tuple[NormStats, ...], real: int) -> list[Any]:
    """Sums of each layer's per-image means and mean squares, in float64."""
    new = []
    for layer in stats:
        mean = np.asarray(layer.batch_mean, np.float64)[:real]
        square = np.asarray(layer.batch_var, np.float64)[:real] + mean**2
        running = (np.asarray(layer.running_mean).reshape(-1, mean.shape[1])[0],
                   np.asarray(layer.running_var).reshape(-1, mean.shape[1])[0])  # fmt: skip
        new.append((mean.sum(axis=0), square.sum(axis=0), *running, int(np.max(np.asarray(layer.count)))))
    if sums is None:
        return new
    return [(a[0] + b[0], a[1] + b[1], *a[2:]) for a, b in zip(sums, new, strict=True)]


def _pooled(sums: list[Any], count: int) -> tuple[NormStats, ...]:
    """The statistics that one batch of all images would have: images of equal size weigh the same."""
    layers = []
    for mean_sum, square_sum, running_mean, running_var, pixels in sums:
        mean = mean_sum / count
        var = np.maximum(square_sum / count - mean**2, 0)
        mean, var, running_mean, running_var = map(jnp.asarray, (mean, var, running_mean, running_var))
        layers.append(NormStats(mean, var, running_mean, running_var, pixels * count))
    return tuple(layers)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _unique_name(name: str, taken: dict[str, Any]) -> str:
    """A verifier given as a file goes by the file's name, unless another one already does."""
    short = Path(name).stem if name.endswith(".safetensors") else name
    return name if short in taken else short


def print_evaluation(evaluation: dict[str, Any], console: Console | None = None) -> None:
    """The verdicts as a table."""
    table = Table("verifier", "right", "top-1", "95 % interval", "top-5", title_justify="left")
    for name, verdict in evaluation["verifiers"].items():
        low, high = (100 * x for x in verdict["interval"])
        right = round(verdict["top1"] * verdict["count"])
        own = "" if verdict.get("independent", True) else " (the inverted network itself)"
        top1, top5 = (f"{100 * verdict[key]:.1f} %" for key in ("top1", "top5"))
        table.add_row(name + own, f"{right} of {verdict['count']}", top1, f"{low:.1f} to {high:.1f} %", top5)
    (console or Console()).print(table)
