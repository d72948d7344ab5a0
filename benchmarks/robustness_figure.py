"""The points of `benchmarks.robustness_curve` as a figure and as a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.robustness_records import Point, Recognition
from jinv.record.estimate import Estimate


def plot(points: Sequence[Point], path: Path) -> None:
    """Recognition along eps, and recall and distance within a class against recognition, as SVG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    twins = sorted((p for p in points if p.eps_255 is not None), key=lambda p: p.eps_255 or 0)
    real = next((p for p in points if p.eps_255 is None), None)
    # Text stays text and nothing is drawn at random: a small file, the same for the same points.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "robustness", "font.family": "sans-serif"}):
        figure, axes = pyplot.subplots(1, 3, figsize=(12, 4))
        _recognised(axes[0], twins, real)
        _against(axes[1], twins, real, "recall, %", lambda p: Estimate(100 * p.overlap.recall))
        _against(axes[2], twins, real, "mean distance within a class", lambda p: p.distance_within_class)
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _recognised(axis: Any, twins: Sequence[Point], real: Point | None) -> None:
    for who, color in (("stranger", "C0"), ("sibling", "C1")):
        seen = [getattr(p, who) for p in twins]
        label = f"{seen[0].judge}, a {who}"
        _errors(axis, [Estimate(p.eps_255 or 0) for p in twins], [_percent(s.top1) for s in seen], color, label)
        if real is not None:
            axis.axhline(100 * getattr(real, who).top1.value, color=color, linestyle=":", linewidth=1)
    axis.set(xlabel="eps of the training, 255ths", ylabel="recognised, % (dotted: real images)", ylim=(0, 103))
    axis.legend(fontsize="small", loc="lower right")


def _against(
    axis: Any, twins: Sequence[Point], real: Point | None, label: str, of: Callable[[Point], Estimate]
) -> None:
    """A point for every twin, by how sure the stranger is of it; a star for real images."""
    _errors(axis, [_percent(p.stranger.confidence) for p in twins], [of(p) for p in twins], "C0", None)
    named = [(p, f"eps {p.eps_255:g}") for p in twins]
    if real is not None:
        _errors(axis, [_percent(real.stranger.confidence)], [of(real)], "C2", None, marker="*")
        named.append((real, "real images"))
    for p, name in named:
        place = (100 * p.stranger.confidence.value, of(p).value)
        axis.annotate(name, place, xytext=(6, 6), textcoords="offset points", fontsize="small")
    axis.set(xlabel="the stranger's confidence in the class, %", ylabel=label, xlim=(0, 108), ylim=(0, None))


def _errors(
    axis: Any, x: Sequence[Estimate], y: Sequence[Estimate], color: str, label: str | None, marker: str = "o"
) -> None:
    def arms(values: Sequence[Estimate]) -> list[list[float]]:
        # A figure without an interval has infinite ends, which nothing can draw.
        ends = [(v.value - v.low, v.high - v.value) if v.bounded else (0.0, 0.0) for v in values]
        return [[low for low, _ in ends], [high for _, high in ends]]

    axis.errorbar(
        [v.value for v in x], [v.value for v in y], xerr=arms(x), yerr=arms(y),
        color=color, label=label, marker=marker, capsize=2, linewidth=1,
    )  # fmt: skip


def _percent(share: Estimate) -> Estimate:
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high)


def table(points: Sequence[Point]) -> str:
    """The points as rows of Markdown."""
    lines = [
        "| network | right on real images | attacked at 8/255 | stranger | its confidence | sibling | precision, recall "
        "| distance within a class | KID | high frequencies |",
        "| --- " * 10 + "|",
    ]
    for p in points:
        clean = "" if p.twin is None else f"{p.twin.clean.correct / p.twin.clean.count:.1%}"
        score = None if p.twin is None else p.twin.under_attack(8)
        distance, shown = p.distance_within_class, f"{p.overlap.precision:.2f}, {p.overlap.recall:.2f}"
        cells = [
            p.name,
            clean,
            "" if score is None else f"{score.correct / score.count:.1%}",
            _counted(p.stranger),
            f"{p.stranger.confidence.value:.2f}",
            _counted(p.sibling),
            shown,
            f"{distance.value:.2f} ({distance.low:.2f} to {distance.high:.2f})",
            f"{p.kernel_distance.value:.2f}",
            f"{p.high_frequency_energy.value:.1%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _counted(seen: Recognition) -> str:
    return f"{seen.right} of {seen.count} ({100 * seen.top1.low:.0f} to {100 * seen.top1.high:.0f} %)"
