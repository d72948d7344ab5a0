"""What a search improves: a figure of a judge, of the pictures by themselves, or what a setting costs."""

from collections.abc import Mapping
from dataclasses import dataclass

from jinv.errors import UsageError, nearest
from jinv.images.metrics import MEASURES, Metric
from jinv.recipe.recipe import Recipe
from jinv.record.evaluation import Pictures, Verdict

JUDGED = ("confidence", "accuracy", "top5")
"""Of a judge: its mean confidence in the wanted classes, the share it recognises, the share among its five best guesses."""

STEPS = "steps"
"""Updates of all stages: what a setting costs, beside its pixels."""

DIRECTIONS = ("min", "max")
EXAMPLE = "--objective JUDGE.confidence, with the name or the file of a judge"


@dataclass(frozen=True)
class Objective:
    """`name` is how it was given, without its direction; `judge` None is for what needs none. metric: a plugin's, which the
    configs have to name."""

    name: str
    judge: str | None
    figure: str
    maximize: bool
    metric: Metric | None = None

    @property
    def words(self) -> str:
        """Its name, and which way is better."""
        return f"{self.name} ({'higher' if self.maximize else 'lower'} is better)"


def parse_objective(text: str, metrics: Mapping[str, Metric] | None = None) -> Objective:
    """`JUDGE.confidence`, `steps` or `high_frequency_energy`, each with `:min` or `:max` behind it where the way is not plain.

    `metrics` are those of plugins, which are objectives too.

    Raises:
      UsageError: no such figure, or its direction is not said and not plain.
    """
    metrics = metrics or {}
    name, _, direction = text.rpartition(":")
    if direction not in DIRECTIONS:
        name, direction = text, ""
    judge, _, figure = name.rpartition(".")
    if not judge and figure == STEPS and STEPS in metrics:
        raise UsageError(
            f"--objective {text}: the updates of all stages go by that name, and a metric of {metrics[STEPS].plugin}; call the "
            "metric otherwise"
        )
    known = (STEPS, *MEASURES, *metrics)
    if not judge and figure not in known:
        raise UsageError(
            f"--objective {text}: unknown{nearest(figure, known)} (known: {', '.join(known)}, and of a judge "
            f"{', '.join(f'JUDGE.{one}' for one in JUDGED)})"
        )
    if judge and figure not in JUDGED:
        raise UsageError(
            f"--objective {text}: a judge has no {figure!r}{nearest(figure, JUDGED)} (known: {', '.join(JUDGED)})"
        )
    plain = {STEPS: "min", "high_frequency_energy": "min", "mean_variation": "min"} | dict.fromkeys(JUDGED, "max")
    if not direction and figure not in plain:
        raise UsageError(f"--objective {text}: more or less of it? Say {text}:max or {text}:min")
    metric = None if judge else metrics.get(figure)
    return Objective(name, judge or None, figure, (direction or plain[figure]) == "max", metric)


def figure_of(objective: Objective, recipe: Recipe, verdicts: Mapping[str, Verdict], pictures: Pictures) -> float:
    """The objective's value of a setting; `verdicts` by the names that judges have in objectives."""
    if objective.judge is not None:
        return judged(verdicts[objective.judge])[objective.figure]
    if objective.figure == STEPS:
        return float(sum(stage.steps for stage in recipe.stages))
    found = pictures.metrics[objective.figure] if objective.metric else getattr(pictures, objective.figure)
    value = found.value
    return float(value)


def judged(verdict: Verdict) -> dict[str, float]:
    """A verdict's figures, by their names in objectives."""
    found = {"confidence": verdict.mean_confidence, "accuracy": verdict.top1, "top5": verdict.top5}
    return {name: float(share.value) for name, share in found.items() if share is not None}
