"""What a sweep found: `sweep.json` and the table of the command line, the best setting first.

Best is what the independent verifiers recognise most; among equals, and without verifiers, the lowest cross-entropy, for
totals of different weights don't compare.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from jinv.runs.sweep_part import SettingRun

SCHEMA = 1


def summarize(runs: Sequence["SettingRun"], programs: list[list[str]]) -> dict[str, Any]:
    """Every setting with its final losses and the verifiers' opinions, the best first; `programs` lists what ran together."""
    settings = [_row(run) for run in runs]
    settings.sort(key=_rank)
    manifest = runs[0].manifest
    return {
        "schema": SCHEMA,
        "varied": list(runs[0].variation.changes),
        "settings": settings,
        "programs": programs,
        "versions": {"jinv": manifest["jinv"], **manifest["versions"]},
        "device": manifest["device"],
    }


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """The settings as a table, the best first."""
    varied, settings = summary["varied"], summary["settings"]
    terms = list(dict.fromkeys(name for row in settings for name in row["terms"]))
    verifiers = list(dict.fromkeys(name for row in settings for name in row["verifiers"]))
    table = Table("run", *varied, "total", *terms, *(f"{name} right" for name in verifiers), caption_justify="left")
    for row in settings:
        values = [_text(row["changes"][key]) for key in varied]
        if row["diverged_at_step"] is not None:
            table.add_row(row["run"].split("_")[0], *values, f"diverged at step {row['diverged_at_step']}")
            continue
        losses = [_number(row["total"]), *(_number(row["terms"].get(name)) for name in terms)]
        opinions = [f"{100 * row['verifiers'][name]:.0f} %" if name in row["verifiers"] else "" for name in verifiers]
        table.add_row(row["run"].split("_")[0], *values, *losses, *opinions)
    (console or Console()).print(table)


def _row(run: "SettingRun") -> dict[str, Any]:
    # Like the reports: the mean over the batches of their last logged step, taken before its update.
    last = list({line["batch"]: line for line in run.directory.metrics()}.values())
    diverged = run.diverged_at is not None
    names = last[0]["terms"] if last and not diverged else {}
    return {
        "run": run.variation.name,
        "changes": run.variation.changes,
        "diverged_at_step": run.diverged_at,
        "total": _mean([line["total"] for line in last]) if names else None,
        "terms": {name: _mean([line["terms"][name]["value"] for line in last]) for name in names},
        "own_accuracy": _mean([line["accuracy"] for line in last]) if names else None,
        "verifiers": {} if diverged else _verdicts(run.directory.path / "evaluation.json"),
    }


def _verdicts(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    verifiers = json.loads(path.read_text(encoding="utf-8"))["verifiers"]
    return {name: verdict["top1"] for name, verdict in verifiers.items() if verdict["independent"]}


def _rank(row: dict[str, Any]) -> tuple[bool, float, float]:
    accuracy = _mean(list(row["verifiers"].values())) if row["verifiers"] else 0.0
    loss = row["terms"].get("cross_entropy", row["total"])
    return row["diverged_at_step"] is not None, -accuracy, loss if loss is not None else 0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
