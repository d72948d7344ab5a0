"""From finished runs to the numbers that the findings are made of, and from those to findings."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinv.record.directory import RunDirectory
from jinv.report.text import OWN, part_text
from jinv.reproduce import claims
from jinv.reproduce.claims import Finding
from jinv.reproduce.numbers import Figure, Numbers, Share

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
    Claim("Roll and flip mainly speed convergence.",
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
      StorageError, RunConflictError: as `RunDirectory.manifest`.
    """
    run = RunDirectory(Path(run_dir))
    manifest = run.manifest() or {}
    path = run.path / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    verdicts = evaluation.get("verifiers", {})
    own = next((v for v in verdicts.values() if part_text(v) == OWN), None)
    others = {key: v for key, v in verdicts.items() if v.get("independent", True)}
    pictures = evaluation.get("pictures", {})
    lines = run.read_lines("metrics.jsonl")
    batch = run.config().get("image", {}).get("batch")
    curve = confidence_curve(lines)
    # A run without steps is its start, a photograph: there the file is all there is.
    files = None if own is None else _share(own)
    confidence = None if own is None else _mean([i["label_confidence"] for i in own["per_image"]])
    return Numbers(
        name,
        size=min(manifest.get("image_size", [0])),
        own=_own_share(lines, len(manifest.get("labels", [])), batch) or files,
        own_confidence=curve[-1][1] if curve else confidence,
        own_files=files,
        verifiers={key: _share(v) for key, v in others.items()},
        class_confidence=_class_confidence(list(others.values()), manifest.get("class_names", [])),
        high_frequency=_figure(pictures.get("high_frequency_energy")),
        variation=_figure(pictures.get("mean_variation")),
        frequency=_figure(pictures.get("mean_frequency")),
        kernel_distance={
            key: distance
            for key, v in others.items()
            if (distance := _figure(v.get("reference", {}).get("kernel_distance")))
        },
        norm_distance={
            key: sum(map(sum, rows)) / (2 * len(rows)) for key, v in others.items() if (rows := v.get("norm_distances"))
        },
        steps=sum(stage["steps"] for stage in manifest.get("stages", [])),
        steps_to_confidence=steps_to(curve, CONFIDENCE),
    )


def confidence_curve(lines: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, the inverted network's confidence in the wanted classes), the geometric mean over a run's images.

    From the logged cross-entropy, of the augmented images and before the step's update.
    """
    by_step: dict[int, list[float]] = {}
    for line in lines:
        if "cross_entropy" in line.get("terms", {}):
            by_step.setdefault(line["step"], []).append(line["terms"]["cross_entropy"]["value"])
    return [(step, math.exp(-sum(values) / len(values))) for step, values in sorted(by_step.items())]


def steps_to(curve: Sequence[tuple[int, float]], confidence: float) -> int | None:
    """The first step of a curve that reaches `confidence`, None where none does."""
    return next((step for step, value in curve if value >= confidence), None)


def _own_share(lines: Sequence[dict[str, Any]], count: int, batch: int | None) -> Share | None:
    """What the inverted network recognises of `count` images, at the last step of each batch of `batch`."""
    last = {line["batch"]: line for line in lines if "accuracy" in line}
    if not last or not count:
        return None
    batch = batch or -(-count // len(last))
    return Share(round(sum(line["accuracy"] * min(batch, count - i * batch) for i, line in last.items())), count)


def _share(verdict: dict[str, Any]) -> Share:
    return Share(round(verdict["top1"] * verdict["count"]), verdict["count"])


def _figure(entry: dict[str, Any] | None) -> Figure | None:
    if not entry or "withheld" in entry:
        return None
    low, high = entry.get("low"), entry.get("high")
    return Figure(entry["value"], -math.inf if low is None else low, math.inf if high is None else high)


def _class_confidence(verdicts: list[dict[str, Any]], names: list[str]) -> dict[str, float]:
    by_class: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, image in zip(names, verdict["per_image"], strict=True):
            by_class.setdefault(name, []).append(image["label_confidence"])
    return {name: sum(values) / len(values) for name, values in by_class.items()}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
