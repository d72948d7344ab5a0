"""A sweep's summary: the best setting first, by the strangers among its judges, then by loss; diverged ones last."""

import io
import math

import pytest
from rich.console import Console

from jinv.record.estimate import Estimate
from jinv.record.evaluation import Evaluation, Verdict
from jinv.record.manifest import Manifest
from jinv.record.metrics import TermValue
from jinv.runs.sweep_summary import SettingResult, print_summary, summarize
from tests.record.test_metrics_lines import logged


def opinions(stranger, inverted=1.0):
    """A stranger recognises so many, the inverted network all: its opinion must not count."""
    accuracies = {"stranger": stranger, "itself": inverted}
    return Evaluation(
        verifiers={
            name: Verdict(
                count=4,
                top1=Estimate(x, 0, 1, 4),
                per_image=(),
                independent=name == "stranger",
                relation="stranger" if name == "stranger" else "inverted",
            )  # fmt: skip
            for name, x in accuracies.items()
        }
    )


def result(name, *, losses=(3.0, 1.0), evaluation=None, diverged_at=None):
    """Of two batches, each with a first step that no longer matters."""
    lines = [
        logged(step, batch=batch, total=2 * loss, terms={"cross_entropy": TermValue(loss, 2 * loss)})
        for batch in range(2)
        for step, loss in ((1, 100.0), (2, losses[batch]))
    ]
    return SettingResult(name, {"seed": int(name)}, lines, evaluation, diverged_at)


def test_the_best_setting_comes_first():
    results = [
        result("0", losses=(math.nan, 1.0), diverged_at=2),
        result("1", evaluation=opinions(0.25)),
        result("2", evaluation=opinions(0.75, inverted=0.0)),
        result("3", losses=(0.5, 0.5), evaluation=opinions(0.25)),
    ]
    summary = summarize(results, [["0", "1"], ["2", "3"]], Manifest(jinv="1", versions={"jax": "2"}, device="cpu"))
    assert [row["run"] for row in summary["settings"]] == ["2", "3", "1", "0"]
    assert summary["settings"][0] == {
        "run": "2", "changes": {"seed": 2}, "diverged_at_step": None, "total": 4.0, "terms": {"cross_entropy": 2.0},
        "own_accuracy": 0.5, "verifiers": {"stranger": 0.75},
        "relations": {"stranger": "stranger"},
    }  # fmt: skip
    diverged = summary["settings"][-1]
    assert (diverged["total"], diverged["terms"], diverged["verifiers"]) == (None, {}, {})
    assert (summary["varied"], summary["versions"]) == (["seed"], {"jinv": "1", "jax": "2"})
    console = Console(file=io.StringIO(), width=120)
    print_summary(summary, console)
    text = console.file.getvalue()
    assert "75 %" in text and "diverged at step 2" in text


def test_a_stranger_outweighs_siblings():
    """The second setting pleases the sibling more, the first the stranger."""

    def seen(stranger, sibling):
        shares = {"sibling": sibling, "stranger": stranger}
        return Evaluation(
            verifiers={
                name: Verdict(count=4, top1=Estimate(x, 0, 1, 4), per_image=(), relation=name)
                for name, x in shares.items()
            }
        )

    results = [result("1", evaluation=seen(0.5, 0.25)), result("2", evaluation=seen(0.25, 1.0))]
    summary = summarize(results, [["1", "2"]], Manifest())
    assert [row["run"] for row in summary["settings"]] == ["1", "2"]
    assert list(summary["settings"][0]["verifiers"]) == ["stranger", "sibling"]


@pytest.mark.parametrize("evaluations", [(None, None), (opinions(0.5), opinions(0.5))])
def test_equals_are_ranked_by_their_cross_entropy(evaluations):
    results = [
        result("0", losses=(3, 3), evaluation=evaluations[0]),
        result("1", losses=(1, 2), evaluation=evaluations[1]),
    ]
    assert [row["run"] for row in summarize(results, [], Manifest())["settings"]] == ["1", "0"]
