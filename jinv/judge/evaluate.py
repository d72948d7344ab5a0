"""Networks judge a run's images, as 8-bit PNG files: what a user has, not what the optimizer saw."""

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError, UsageError, legible, naming
from jinv.images.codec import read_image
from jinv.images.folder import ImageFolder, Watch, open_image_folder, unwatched
from jinv.images.sample import SHOWN_IMAGES, draw_by_class, sample_by_class
from jinv.judge.assessment import MOST_FEATURES, Said, assess, recognition_of
from jinv.judge.judges import Judge, Say, digests_of, find_judge, judge_digests, judge_file, silent
from jinv.judge.metrics import norm_distances
from jinv.judge.onnx_judge import load_onnx
from jinv.judge.photographs import (
    Photographs,
    judge_photographs,
    open_photographs,
    unique_name,
    watch_judge,
)
from jinv.judge.picture_metrics import Metrics, are_measured, picture_figures
from jinv.judge.real_images import Generated, compare_with_reference, diversity, figure, with_thumbnails
from jinv.judge.relations import pedigree_of, pedigrees_of, relation_of
from jinv.models.classifier import Classifier
from jinv.recipe.paths import is_onnx
from jinv.recipe.recipe import Recipe
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Evaluation, Opinion, Part, Relation, Verdict, in_order
from jinv.record.run import RunRecord, open_run
from jinv.weights.load import check_file, class_names_of


def evaluate_run(
    run_dir: str | Path,
    verifiers: Sequence[str],
    reference: str | Path | None = None,
    photographs: str | Path | None = None,
    *,
    find: Callable[[str], Judge] = find_judge,
    metrics: Metrics | None = None,
    watch: Watch = unwatched,
) -> Evaluation:
    """Let `verifiers` (names, converted files, ONNX files) judge the run; writes and returns `evaluation.json`.

    Without a verifier the verdicts that are there stay, and what the pictures say by themselves is new.

    Args:
      reference: real images to compare with.
      photographs: real images of the run's classes, which are made as large as the run's and judged in the same way.
      find: finds a judge by name or file.
      metrics: what else is measured of each picture, the real ones' too.
      watch: is told of every image.

    Raises:
      UsageError: neither a verifier nor a metric, or an unknown one; as `open_photographs`. StorageError: no run, or images
      missing from it. UnsafeInputError: a damaged image. ModelMismatchError: a verifier with other classes than the run's.
      NumericalError: logits that are not finite. Others as `Metric.of`.
    """
    if not verifiers and not metrics:
        raise UsageError("evaluate: no verifier is given, for example efficientnet_lite1")
    if not verifiers and (reference is not None or photographs is not None):
        raise UsageError("evaluate: which verifier is to look at the real images? For example efficientnet_lite1")
    run = open_run(run_dir)
    alone = watch(read_pictures(run), "the images alone", len(run.labels))
    pictures = picture_figures(alone, metrics, run.picture_files)
    directory = RunDirectory(run.path)
    if not verifiers:
        evaluation = (directory.evaluation() or Evaluation()).model_copy(update={"pictures": pictures})
        directory.write_evaluation(evaluation)
        return evaluation
    folder = _reference(reference)
    verdicts: dict[str, Verdict] = {}
    inverted, beside = pedigrees_of(run.manifest), None
    for name in dict.fromkeys(str(v) for v in verifiers):
        with naming("evaluate.verifiers"):
            classifier = find(name)
            _check_classes(name, classifier.class_names, run.labels.tolist(), run.class_names)
        if photographs is not None and beside is None:
            beside = _beside(photographs, classifier, run)
        verdict = judge_run(classifier, run, folder, beside, watch_judge(watch, name))
        relation = relation_of(pedigree_of(classifier), inverted, run.manifest.student_sha256)
        verdicts[unique_name(name, verdicts)] = _related(verdict, relation)
    # An earlier evaluation's neighbours are not this one's.
    shutil.rmtree(run.path / "nearest", ignore_errors=True)
    evaluation = Evaluation(
        verifiers=_with_neighbors(run, folder, in_order(verdicts)),
        pictures=pictures,
        reference=None if reference is None else str(reference),
        photographs=beside.watched(watch).control(metrics) if beside is not None else None,
    )
    directory.write_evaluation(evaluation)
    return evaluation


def _reference(path: str | Path | None) -> ImageFolder | None:
    with naming("evaluate.reference"):
        return None if path is None else open_image_folder(path)


def _beside(path: str | Path, classifier: Judge, run: RunRecord) -> Photographs:
    size = next(read_pictures(run)).shape[:2]
    with naming("evaluate.photographs"):
        return open_photographs(path, classifier.class_names, set(run.labels.tolist()), size)


def _related(verdict: Verdict, relation: Relation) -> Verdict:
    """The verdict with what its network is to the inverted one: who was to be pleased gives no evidence at all."""
    part: Part | None = relation if relation == "inverted" or relation == "student" else None
    return verdict.model_copy(update={"relation": relation, "part": part, "independent": part is None})


def is_judged(run: RunDirectory, recipe: Recipe, metrics: Metrics) -> bool:
    """Whether `evaluation.json` holds these metrics, and what the recipe's verifiers, as their files and tables are now, say
    beside its real images."""
    try:
        evaluation = run.evaluation()
    except (StorageError, UnsafeInputError):
        return False
    if evaluation is None:
        return False
    asked = recipe.evaluate
    if not are_measured(evaluation.pictures, metrics):
        return False
    if not asked.verifiers:
        return True
    wanted = [judge_digests(name, asked.onnx, check_file) for name in dict.fromkeys(asked.verifiers)]
    control = evaluation.photographs.source if evaluation.photographs else None
    if not (_same_path(evaluation.reference, asked.reference) and _same_path(control, asked.photographs)):
        return False
    # The verdicts are in an order of their own.
    return Counter((v.sha256, v.table_sha256) for v in evaluation.verifiers.values()) == Counter(map(tuple, wanted))


def _same_path(before: str | None, now: str | None) -> bool:
    return (
        before == now
        if before is None or now is None
        else legible(str(Path(now).resolve())) in (before, str(Path(before).resolve()))
    )


def _with_neighbors(run: RunRecord, folder: ImageFolder | None, verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
    """The verdicts, of which the first that compares with real images keeps its nearest ones."""
    compared = (name for name, verdict in verdicts.items() if verdict.reference and verdict.reference.nearest)
    if folder is None or (first := next(compared, None)) is None:
        return verdicts
    shown = {legible(run.picture_files[index]) for index in sample_by_class(run.labels, SHOWN_IMAGES)}
    return verdicts | {first: _keep_neighbors(RunDirectory(run.path), folder, verdicts[first], shown)}


def _keep_neighbors(run: RunDirectory, folder: ImageFolder, verdict: Verdict, shown: Collection[str]) -> Verdict:
    """Copy the real images nearest to `shown` into the run, for the report; the verdict that names the copies."""
    assert verdict.reference is not None
    nearest, thumbnails = with_thumbnails(folder, verdict.reference.nearest, shown)
    for name, png in thumbnails.items():
        run.write_image(name, png)
    return verdict.model_copy(update={"reference": verdict.reference.model_copy(update={"nearest": nearest})})


def check_judges(
    recipe: Recipe,
    classifier: Classifier,
    labels: Sequence[int],
    class_names: Callable[[str], Sequence[str]] | None = None,
    say: Say = silent,
) -> None:
    """What can be said before there are images: are the verifiers sound, do they know the classes, are there real images?

    `class_names` gives a verifier's, where it is loaded already; else its file does. ONNX files are tried on a picture,
    published networks are fetched: `say` is told.

    Raises:
      As `evaluate_run`, `open_image_folder` and `open_photographs`.
    """
    asked = recipe.evaluate
    if asked.reference is not None and not asked.verifiers:
        raise UsageError.of("evaluate.reference", "needs evaluate.verifiers, in whose features images are compared")
    if asked.photographs is not None and not asked.verifiers:
        raise UsageError.of("evaluate.photographs", "needs evaluate.verifiers, which judge them")
    names = [classifier.class_names[label] for label in labels]
    for number, verifier in enumerate(asked.verifiers):
        known: Sequence[str]
        with naming("evaluate.verifiers"):
            if is_onnx(verifier):
                known = load_onnx(verifier, asked.onnx).class_names
            elif class_names:
                known = class_names(verifier)
            else:
                known = class_names_of(check_file(judge_file(verifier, say)))
            _check_classes(verifier, known, labels, names)
        if asked.photographs is not None and number == 0:
            with naming("evaluate.photographs"):
                open_photographs(asked.photographs, known, set(labels))
    _reference(asked.reference)


def _check_classes(name: str, known: Sequence[str], labels: Sequence[int], class_names: Sequence[str]) -> None:
    """Refuse a verifier that numbers other classes than the run's network.

    Raises:
      ModelMismatchError: a label's name differs between the two.
    """
    for label, class_name in zip(labels, class_names, strict=True):
        if label >= len(known) or legible(known[label]) != legible(class_name):
            theirs = repr(known[label]) if label < len(known) else f"nothing, it has {len(known)} classes"
            raise ModelMismatchError(f"verifier {name}: class {label} is {theirs}, in the run it is {class_name!r}")


def judge_run(
    classifier: Judge,
    run: RunRecord,
    folder: ImageFolder | None = None,
    photographs: Photographs | None = None,
    watch: Watch = unwatched,
) -> Verdict:
    """One network's verdict, beside the real images in `folder` and its own of `photographs`; raises as `judge`."""
    labels, files = run.labels, legible(run.picture_files)
    drawn = draw_by_class(labels, MOST_FEATURES)
    kept = np.union1d(drawn, sample_by_class(labels, SHOWN_IMAGES)) if folder is not None else drawn
    assessed = assess(classifier, watch(read_pictures(run), "the images", len(labels)), labels, kept)
    features, among = assessed.features, np.isin(kept, drawn)
    beside = None
    if folder is not None:
        generated = Generated(features, [files[index] for index in kept], labels[kept], among)
        beside = compare_with_reference(classifier, generated, labels, folder.watched(watch, "real images"))
    return Verdict(
        architecture=classifier.architecture,
        **digests_of(classifier)._asdict(),
        input_size=classifier.input_size,
        count=len(labels),
        sampled=len(drawn) if features is not None and len(drawn) < len(labels) else None,
        **recognition_of(assessed.said)._asdict(),
        norm_distances=norm_distances(assessed.norm_stats).tolist(),
        diversity=figure(lambda: diversity(None if features is None else features[among], labels[drawn])),
        per_image=_opinions(classifier, assessed.said, files, labels),
        reference=beside,
        family=classifier.family,
        training=classifier.training,
        accuracy=classifier.accuracy,
        photographs=judge_photographs(classifier, photographs.watched(watch)) if photographs is not None else None,
    )


def read_pictures(run: RunRecord) -> Iterator[np.ndarray]:
    """The run's pictures one after another, uint8 (height, width, 3), each read when it is asked for.

    Raises:
      StorageError: they are not all there, not readable or not all of one size. UnsafeInputError: a damaged one.
    """
    shape = None
    for file in run.picture_files:
        pixels = read_image(run.path / file)
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise StorageError(f"{run.path / 'images'}: the images are not all of one size")
        yield pixels


def _opinions(classifier: Judge, said: Said, files: Sequence[str], labels: np.ndarray) -> tuple[Opinion, ...]:
    names = legible(tuple(classifier.class_names))
    columns = (files, labels.tolist(), *(values.tolist() for values in said))
    return tuple(
        Opinion(
            image=file,
            label=label,
            label_confidence=wanted,
            predicted=predicted,
            class_name=names[predicted],
            confidence=confidence,
            correct=first,
        )
        for file, label, first, _, wanted, predicted, confidence in zip(*columns, strict=True)
    )
