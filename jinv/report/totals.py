"""What the judges say of all images of a run, class by class: what a page that shows a part of them owes the rest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jinv.record.evaluation import Verdict
from jinv.record.manifest import Manifest
from jinv.report.charts import Chart, Series, line_chart

FEWEST = 4
"""Images per class, on average, below which no class is told apart from another."""

MOST_ROWS = 24
ENDS = 8
"""Of more classes than `MOST_ROWS`, so many from the top and from the bottom have a row."""


@dataclass(frozen=True)
class VerifierView:
    """A verifier's verdict under its name, and under the short one that pages use."""

    name: str
    short: str
    verdict: Verdict


@dataclass(frozen=True)
class Score:
    """How many of `asked` images of a class a verifier gives it."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.right / self.asked if self.asked else 0.0


@dataclass(frozen=True)
class ClassRow:
    """A class: number of images, a score per verifier, and what they take the others for most often, how often."""

    name: str
    label: int
    count: int
    scores: tuple[Score, ...]
    guess: str
    guesses: int

    @property
    def share(self) -> float:
        """The mean over the verifiers, by which classes are ordered."""
        return sum(score.share for score in self.scores) / len(self.scores)


@dataclass(frozen=True)
class Totals:
    """Over all judged images: how many all verifiers recognise, some, none; and the classes, best recognised first.

    `rows` are all classes, or where those are many the first and the last, none where their images are few; `between` is
    how many lie between the two.
    """

    count: int
    right: int
    divided: int
    wrong: int
    classes: int
    verifiers: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    between: int
    chart: Chart | None


def totals_of(manifest: Manifest, verdicts: Sequence[VerifierView]) -> Totals | None:
    """The totals of a run; None where nobody judged it."""
    names = dict(zip(manifest.labels, manifest.class_names, strict=False))
    asked: list[Counter[int]] = []
    right: list[Counter[int]] = []
    guesses: dict[int, Counter[str]] = {}
    agreed: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for v in verdicts:
        asked.append(Counter(o.label for o in v.verdict.per_image))
        right.append(Counter(o.label for o in v.verdict.per_image if o.correct))
        for o in v.verdict.per_image:
            seen[o.image] += 1
            agreed[o.image] += o.correct
            if not o.correct:
                guesses.setdefault(o.label, Counter())[o.class_name] += 1
    if not seen:
        return None
    rows = []
    for label in sorted(set().union(*asked)):
        most = guesses[label].most_common(1)[0] if label in guesses else ("", 0)
        scores = tuple(Score(r[label], a[label]) for r, a in zip(right, asked, strict=True))
        count = max(score.asked for score in scores)
        rows.append(ClassRow(names.get(label, str(label)), label, count, scores, *most))
    rows.sort(key=lambda row: -row.share)
    all_right = sum(agreed[image] == times for image, times in seen.items())
    none_right = sum(not agreed[image] for image in seen)
    classes, few = len(rows), len(rows) <= MOST_ROWS
    if len(seen) < FEWEST * classes:
        rows, few = [], True
    return Totals(
        count=len(seen),
        right=all_right,
        divided=len(seen) - all_right - none_right,
        wrong=none_right,
        classes=classes,
        verifiers=tuple(v.short for v in verdicts),
        rows=tuple(rows if few else rows[:ENDS] + rows[-ENDS:]),
        between=0 if few else len(rows) - 2 * ENDS,
        chart=None if few else _chart(rows, [v.short for v in verdicts]),
    )


def _chart(rows: Sequence[ClassRow], verifiers: Sequence[str]) -> Chart | None:
    """Every class' share, for each verifier from its worst to its best."""
    places = list(range(1, len(rows) + 1))
    series = [
        Series(name, places, sorted(row.scores[i].share for row in rows), color=i) for i, name in enumerate(verifiers)
    ]
    caption = "share of each class that is recognised, from the worst class to the best"
    return line_chart("Every class", series, caption=caption, x_label="class", zero=True)


def count_text(count: int) -> str:
    """A count as a person would write it: 50 000."""
    return f"{count:,}".replace(",", "\N{THIN SPACE}") if count >= 10_000 else str(count)
