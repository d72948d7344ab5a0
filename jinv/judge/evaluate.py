"""Independent networks judge a run's images, as 8-bit PNG files: what a user has, not what the optimizer saw."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UsageError
from jinv.images.codec import read_image
from jinv.images.folder import ImageFolder, open_image_folder
from jinv.judge.judge import judge
from jinv.judge.metrics import norm_distances, top_k_correct, wilson_interval
from jinv.judge.picture_metrics import high_frequency_energy, mean_frequency, mean_interval, mean_variation
from jinv.judge.real_images import compare_with_reference, diversity, figure, neighbor_pictures
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.record.directory import RunDirectory
from jinv.report.text import print_evaluation
from jinv.weights.load import check_file, class_names_of, load

__all__ = ["RunImages", "check_judges", "evaluate_run", "is_judged", "judge_run", "print_evaluation", "read_run_images"]


class RunImages(NamedTuple):
    """A run's pictures: file names relative to the run, uint8 pixels, labels and class names, one each per image."""

    names: list[str]
    pixels: list[np.ndarray]
    labels: np.ndarray
    class_names: list[str]


def evaluate_run(run_dir: str | Path, verifiers: Sequence[str], reference: str | Path | None = None) -> dict[str, Any]:
    """Let `verifiers` (names or converted files) judge the run; writes and returns `evaluation.json`.

    Raises:
      UsageError: no verifier, or an unknown one. StorageError: no run, or images missing from it.
      ModelMismatchError: a verifier with other classes than the run's. NumericalError: logits that are not finite.
    """
    if not verifiers:
        raise UsageError("evaluate: no verifier is given, for example efficientnet_lite1")
    run = RunDirectory(Path(run_dir))
    manifest = run.manifest()
    if manifest is None:
        raise StorageError(f"{run_dir}: not a run directory (no manifest.json)")
    images = read_run_images(run.path, manifest)
    folder = None if reference is None else open_image_folder(reference)
    evaluation: dict[str, Any] = {"verifiers": {}, "pictures": picture_figures(images.pixels)}
    if reference is not None:
        evaluation["reference"] = str(reference)
    for name in dict.fromkeys(str(v) for v in verifiers):
        classifier = load(name)
        _check_classes(name, classifier.class_names, images.labels.tolist(), images.class_names)
        verdict = judge_run(classifier, images, folder)
        # The opinion of a network that the images were made to please is no evidence; the report says so beside it.
        part = part_taken(manifest, verdict["sha256"])
        verdict |= {"independent": part is None, **({"part": part} if part else {})}
        evaluation["verifiers"][_unique_name(name, evaluation["verifiers"])] = verdict
    # An earlier evaluation's neighbours are not this one's.
    shutil.rmtree(run.path / "nearest", ignore_errors=True)
    if folder is not None:
        _keep_neighbors(run, folder, evaluation)
    run.write_json("evaluation.json", evaluation)
    return evaluation


def part_taken(manifest: dict[str, Any], sha256: str | None) -> str | None:
    """What a network was in a run's synthesis, by the digest of its checkpoint: "inverted", "student" or nothing."""
    if sha256 is not None and sha256 == manifest.get("model", {}).get("sha256"):
        return "inverted"
    return "student" if sha256 is not None and sha256 == manifest.get("student_sha256") else None


def is_judged(run: RunDirectory, recipe: Recipe) -> bool:
    """Whether `evaluation.json` holds what these verifiers, as their files are now, say beside these real images."""
    try:
        evaluation = json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))
        judges = [verdict["sha256"] for verdict in evaluation["verifiers"].values()]
        reference = evaluation.get("reference")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    wanted = [check_file(name)["source"].get("sha256") for name in dict.fromkeys(recipe.evaluate.verifiers)]
    same = (reference is None) == (recipe.evaluate.reference is None) and (
        reference is None or Path(reference).resolve() == Path(recipe.evaluate.reference or "").resolve()
    )
    return same and judges == wanted


def _keep_neighbors(run: RunDirectory, folder: ImageFolder, evaluation: dict[str, Any]) -> None:
    """Copy the real images nearest to the run's into it: the first verifier's, for the report to show."""
    first = next(iter(evaluation["verifiers"].values()))
    for name, png in neighbor_pictures(folder, first["reference"]["nearest"]).items():
        run.write_image(name, png)


def read_run_images(run_dir: Path, manifest: dict[str, Any]) -> RunImages:
    """The images that the manifest promises.

    Raises:
      StorageError: fewer or more images than labels. UnsafeInputError: a damaged one.
    """
    labels, class_names = manifest.get("labels"), manifest.get("class_names")
    if not isinstance(labels, list) or not isinstance(class_names, list) or len(labels) != len(class_names):
        raise StorageError(f"{run_dir / 'manifest.json'}: it does not say what the images' classes are")
    paths = sorted((run_dir / "images").glob("*.png"))
    if [path.name[:6] for path in paths] != [f"{i:06d}" for i in range(len(labels))]:
        raise StorageError(f"{run_dir / 'images'}: {len(paths)} images, the manifest has {len(labels)} labels")
    names = [f"images/{path.name}" for path in paths]
    return RunImages(names, [read_image(path) for path in paths], np.asarray(labels, np.int64), list(class_names))


def picture_figures(pixels: Sequence[np.ndarray]) -> dict[str, Any]:
    """The entry `pictures` of `evaluation.json`: what the pictures say without any network, each with its 95 % interval.

    An interval of a single picture has no ends: `low` and `high` are None.
    """
    result: dict[str, Any] = {"count": len(pixels)}
    for measure in (high_frequency_energy, mean_variation, mean_frequency):
        values = [measure(picture) for picture in pixels]
        mean = mean_interval(values)
        # None of these can be negative, and a share not above 1; Student's interval does not know that.
        most = 1.0 if measure is high_frequency_energy else mean.high
        ends = (max(mean.low, 0.0), min(mean.high, most)) if len(values) > 1 else (None, None)
        result[measure.__name__] = {"value": mean.value, "low": ends[0], "high": ends[1], "per_image": values}
    return result


def check_judges(
    recipe: Recipe,
    classifier: Classifier,
    labels: Sequence[int],
    class_names: Callable[[str], Sequence[str]] | None = None,
) -> None:
    """What can be said before there are images: are the verifiers sound, do they know the classes, are there real images?

    `class_names` gives a verifier's, where it is loaded already; else its file does.

    Raises:
      As `evaluate_run`, and `open_image_folder`.
    """
    if recipe.evaluate.reference is not None and not recipe.evaluate.verifiers:
        raise UsageError("evaluate.reference: needs evaluate.verifiers, in whose features images are compared")
    names = [classifier.class_names[label] for label in labels]
    for verifier in recipe.evaluate.verifiers:
        known = class_names(verifier) if class_names else class_names_of(check_file(verifier))
        _check_classes(verifier, known, labels, names)
    if recipe.evaluate.reference is not None:
        open_image_folder(recipe.evaluate.reference)


def _check_classes(name: str, known: Sequence[str], labels: Sequence[int], class_names: Sequence[str]) -> None:
    """Refuse a verifier that numbers other classes than the run's network.

    Raises:
      ModelMismatchError: a label's name differs between the two.
    """
    for label, class_name in zip(labels, class_names, strict=True):
        if label >= len(known) or known[label] != class_name:
            theirs = repr(known[label]) if label < len(known) else f"nothing, it has {len(known)} classes"
            raise ModelMismatchError(f"verifier {name}: class {label} is {theirs}, in the run it is {class_name!r}")


def judge_run(classifier: Classifier, images: RunImages, folder: ImageFolder | None = None) -> dict[str, Any]:
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
    verdict = {
        "architecture": classifier.architecture,
        "sha256": classifier.source.get("source_sha256"),
        "input_size": classifier.input_size,
        "count": count,
        "top1": float(correct.mean()),
        "interval": list(wilson_interval(int(correct.sum()), count)),
        "top5": float(in_top5.mean()),
        "top5_interval": list(wilson_interval(int(in_top5.sum()), count)),
        "norm_distances": norm_distances(judgement.norm_stats).tolist(),
        "diversity": figure(lambda: diversity(judgement.features, images.labels)),
        "per_image": per_image,
    }
    if folder is not None:
        verdict["reference"] = compare_with_reference(classifier, judgement, images.names, images.labels, folder)
    return verdict


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _unique_name(name: str, taken: dict[str, Any]) -> str:
    """A verifier given as a file goes by the file's name, unless another one already does."""
    short = Path(name).stem if name.endswith(".safetensors") else name
    return name if short in taken else short
