"""What was logged, step by step over all batches: means and the band they span. No line is kept."""

import math
from array import array
from collections.abc import Iterable
from typing import Literal, NamedTuple

from jinv.record.metrics import MetricsLine
from jinv.record.timing import StepTime
from jinv.report.charts import Series
from jinv.report.heatmap import LayerSums

Kind = Literal[
    "total", "learning_rate", "accuracy", "steps_per_second", "memory", "value", "weighted", "gradient_norm", "cosine"
]
"""The last four are of a term: without its weight, with it, how hard it pulls, and of two terms: how alike."""

GIGABYTE = 1e9


class LastLine(NamedTuple):
    """Of the last line of a batch."""

    total: float
    accuracy: float


class Curves:
    """Sums over the batches at every logged step, some hundred bytes each however many batches there were.

    terms, gradients, pairs: the names of terms, of those with gradient norms, and of pairs with cosines, in the order in
    which they first appear. layers: how far statistics were off.
    last: every batch's last line.
    """

    def __init__(self, lines: Iterable[MetricsLine] = ()) -> None:
        self.terms: dict[str, None] = {}
        self.gradients: dict[str, None] = {}
        self.pairs: dict[str, None] = {}
        self.layers = LayerSums()
        self.last: dict[int, LastLine] = {}
        self._columns: dict[tuple[Kind, str], _Column] = {}
        for line in lines:
            self.add(line)

    def add(self, line: MetricsLine) -> None:
        """Take another line into account."""
        self.last[line.batch] = LastLine(line.total, line.accuracy)
        self._add("total", "", line.step, line.total)
        self._add("learning_rate", "", line.step, line.learning_rate)
        self._add("accuracy", "", line.step, line.accuracy)
        for name, term in line.terms.items():
            self.terms[name] = None
            self._add("value", name, line.step, term.value)
            self._add("weighted", name, line.step, term.weighted)
        for name, norm in (line.gradient_norms or {}).items():
            self.gradients[name] = None
            self._add("gradient_norm", name, line.step, norm)
        for first, row in (line.gradient_cosines or {}).items():
            for second, cosine in row.items():
                self.pairs[f"{first}, {second}"] = None
                self._add("cosine", f"{first}, {second}", line.step, math.nan if cosine is None else cosine)
        if line.statistics:
            self.layers.add(line.step, line.statistics)

    def add_time(self, time: StepTime) -> None:
        """Take into account when a line was logged."""
        if time.steps_per_second is not None:
            self._add("steps_per_second", "", time.step, time.steps_per_second)
        memory = time.device_memory if time.device_memory is not None else time.memory
        if memory is not None:
            self._add("memory", "", time.step, memory / GIGABYTE)

    def _add(self, kind: Kind, name: str, step: int, value: float) -> None:
        if (column := self._columns.get((kind, name))) is None:
            column = self._columns[kind, name] = _Column()
        column.add(step, value)

    def series(self, kind: Kind, of: str = "", *, name: str | None = None, color: int | None = 0) -> Series:
        """A curve, called as its kind or term unless `name` says otherwise; where several batches logged a step, with a band."""
        title = name if name is not None else of or kind.replace("_", " ")
        column = self._columns.get((kind, of), _Column())
        xs = sorted(column.places)
        places = [column.places[x] for x in xs]
        mean = [column.sums[i] / column.counts[i] for i in places]
        if all(count == 1 for count in column.counts):
            return Series(title, xs, mean, color=color)
        return Series(title, xs, mean, [column.least[i] for i in places], [column.most[i] for i in places], color)

    @property
    def final(self) -> float | None:
        """The mean total of the batches' last lines, None where nothing was logged."""
        return sum(line.total for line in self.last.values()) / len(self.last) if self.last else None

    @property
    def own_accuracy(self) -> float | None:
        """The mean accuracy of the batches' last lines, of those that are finite; None where there is none."""
        own = [line.accuracy for line in self.last.values() if math.isfinite(line.accuracy)]
        return sum(own) / len(own) if own else None


class _Column:
    """One number by step."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.counts = array("q")
        self.sums, self.least, self.most = array("d"), array("d"), array("d")

    def add(self, step: int, value: float) -> None:
        i = self.places.setdefault(step, len(self.counts))
        if i == len(self.counts):
            self.counts.append(1)
            for values in (self.sums, self.least, self.most):
                values.append(value)
            return
        self.counts[i] += 1
        self.sums[i] += value
        # As min and max have it where a value is no number: the first one stays.
        if value < self.least[i]:
            self.least[i] = value
        if value > self.most[i]:
            self.most[i] = value
