"""From finished runs to the numbers that the findings are made of, and from those to findings."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinv.errors import UnsafeInputError
from jinv.judge.metrics import share_of
from jinv.record.estimate import Estimate
from jinv.record.evaluation import Verdict, Withheld
from jinv.record.metrics import MetricsLine
from jinv.record.run import open_run
from jinv.report.curves import Curves
from jinv.report.text import OWN, part_text
from jinv.reproduce import claims
from jinv.reproduce.claims import Finding
from jinv.reproduce.numbers import Numbers

CONFIDENCE = 0.9
"""`Numbers.steps_to_confidence` counts the steps to this confidence."""

By = Mapping[tuple[str, str, str], Numbers]
"""(figure, network, variant) -> what was measured there."""


class Claim(NamedTuple):
    """A finding of the thesis: what it says, the function that tests it, and the (figure, variant) of its two runs.

    With `twins` the first run is the twin's, the standard network beside the robust one.
    """

    text: str
    test: Callable[[Numbers | None, Numbers | None], Finding]
    runs: tuple[tuple[str, str], tuple[str, str]]
    twins: bool = False


CLAIMS = (
    Claim("Within a few steps noise is classified with more confidence than a photograph of the class.",
          claims.surer_than_of_a_photograph, (("3.1", "optimised"), ("3.1", "photograph"))),
    Claim("Without regularization images are noise though classified at about 100 %.",
          claims.noise_though_classified, (("4.1", ""), ("4.4", ""))),
    Claim("Roll, flip and clip show more structure.", claims.tricks_show_structure, (("4.1", ""), ("4.2", ""))),
    Claim("Clipping contributes most to realism.",
          claims.clipping_contributes_most, (("4.2", "clipping alone"), ("4.2", "flips and rolls alone"))),
    Claim("Roll and flip mainly speed convergence (tested: of the network's own confidence).",
          claims.moves_speed_convergence, (("4.2", "clipping alone"), ("4.2", ""))),
    Claim("The image prior removes noise and blurs.", claims.prior_removes_noise, (("4.2", ""), ("4.3", ""))),
    Claim("Batch-norm statistics make whole, recognisable objects.",
          claims.statistics_make_objects, (("4.3", ""), ("4.4", ""))),
    Claim("The robust model gives clearer images.", claims.robust_is_clearer, (("4.5", ""), ("4.5", "")), twins=True),
    Claim("Betas 0 help some classes and blur all.", claims.no_momentum_blurs, (("4.5", ""), ("4.7", ""))),
    Claim("At larger sizes the object repeats instead of growing.", claims.objects_repeat, (("4.7", ""), ("4.9", ""))),
    Claim("Larger images look more realistic.", claims.larger_is_realistic, (("4.5", ""), ("4.11", ""))),
)  # fmt: skip
"""In the order in which the thesis states them."""


def judge_claims(
    measured: By, networks: Sequence[str], twins: Mapping[str, str]
) -> list[tuple[str, list[tuple[str, Finding]]]]:
    """Every claim on every network that has a run of it: [(claim, [(network, finding)])].

    Where no network has both runs, the networks that have one of them, or none, say "undecided".
    """
    result = []
    for claim in CLAIMS:
        first, second = claim.runs
        pairs = {}
        for network in networks:
            if claim.twins and network not in twins:
                continue
            other = twins[network] if claim.twins else network
            pairs[network] = (measured.get((first[0], other, first[1])), measured.get((second[0], network, second[1])))
        complete = {n: pair for n, pair in pairs.items() if all(pair)}
        some = {n: pair for n, pair in pairs.items() if any(pair)}
        chosen = complete or some or {"": (None, None)}
        result.append((claim.text, [(network, claim.test(*pair)) for network, pair in chosen.items()]))
    return result


def numbers_of(run_dir: str | Path, name: str) -> Numbers:
    """The numbers of a finished run.

    Raises:
      StorageError, RunConflictError: as `open_run`. UnsafeInputError: one of the run's files is damaged.
    """
    run = open_run(run_dir)
    manifest, pictures = run.manifest, run.evaluation.pictures if run.evaluation else None
    verdicts = run.evaluation.verifiers if run.evaluation else {}
    own = next((v for v in verdicts.values() if part_text(v) == OWN), None)
    others = {key: v for key, v in verdicts.items() if v.independent}
    # Siblings see their own family's patterns in images: where a stranger judged, findings are its to decide.
    deciding = {key: v for key, v in others.items() if v.kin == "stranger"} or others
    for key, verdict in deciding.items():
        if len(verdict.per_image) != len(manifest.class_names):
            raise UnsafeInputError(
                f"{run.path / 'evaluation.json'}: verifiers.{key}.per_image: {len(verdict.per_image)} images, manifest.json "
                f"has {len(manifest.class_names)} class_names"
            )
    curve = confidence_curve(Curves(run.metrics))
    # A run without steps is its start, a photograph: there the file is all there is.
    from_files = _mean(_label_confidences(own)) if own else None
    return Numbers(
        name,
        size=min(manifest.image_size or (0,)),
        own=_own_share(run.metrics, len(manifest.labels), run.config.get("image", {}).get("batch"))
        or (own.top1 if own else None),
        own_confidence=curve[-1][1] if curve else from_files,
        own_files=own.top1 if own else None,
        verifiers={_named(key, v): v.top1 for key, v in deciding.items()},
        class_confidence=_class_confidence(deciding.values(), manifest.class_names),
        high_frequency=pictures.high_frequency_energy if pictures else None,
        variation=pictures.mean_variation if pictures else None,
        frequency=pictures.mean_frequency if pictures else None,
        kernel_distance={
            key: v.reference.kernel_distance
            for key, v in others.items()
            if v.reference and not isinstance(v.reference.kernel_distance, Withheld)
        },
        norm_distance={
            key: sum(map(sum, rows)) / (2 * len(rows)) for key, v in others.items() if (rows := v.norm_distances)
        },
        steps=sum(stage.steps for stage in manifest.stages),
        steps_to_confidence=steps_to(curve, CONFIDENCE),
    )


def _named(key: str, verdict: Verdict) -> str:
    return f"{key} (a sibling)" if verdict.kin == "sibling" else key


def confidence_curve(curves: Curves) -> list[tuple[int, float]]:
    """(step, the inverted network's confidence in the wanted classes), the geometric mean over a run's images.

    From the logged cross-entropy, of the augmented images and before the step's update.
    """
    logged = curves.series("value", "cross_entropy")
    return [(int(step), math.exp(min(-mean, 0.0))) for step, mean in zip(logged.x, logged.y, strict=True)]


def steps_to(curve: Sequence[tuple[int, float]], confidence: float) -> int | None:
    """The first step of a curve that reaches `confidence`, None where none does."""
    return next((step for step, value in curve if value >= confidence), None)


def _own_share(lines: list[MetricsLine], count: int, batch: int | None) -> Estimate | None:
    """What the inverted network recognises of `count` images, at the last step of each batch of `batch`."""
    last = list({line.batch: line for line in lines}.values())
    if not last or not count:
        return None
    batch = batch or -(-count // len(last))
    right = sum(line.accuracy * max(0, min(batch, count - line.batch * batch)) for line in last)
    return share_of(round(min(max(right, 0), count)), count) if math.isfinite(right) else None


def _class_confidence(verdicts: Iterable[Verdict], names: Sequence[str]) -> dict[str, float]:
    by_class: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, opinion in zip(names, verdict.per_image, strict=True):
            if opinion.label_confidence is not None:
                by_class.setdefault(name, []).append(opinion.label_confidence)
    return {name: sum(values) / len(values) for name, values in by_class.items()}


def _label_confidences(verdict: Verdict) -> list[float]:
    return [o.label_confidence for o in verdict.per_image if o.label_confidence is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
