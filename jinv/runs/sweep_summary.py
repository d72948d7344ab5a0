"""What a sweep found: `sweep.json`, the table of the command line and that of the page, the best setting first.

Best is what the strangers among the verifiers recognise most, all other networks where there is none; among equals, and without verifiers, the lowest cross-entropy, for
totals of different weights don't compare.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jinv.console import add, make_console, table
from jinv.recipe.variations import short_keys
from jinv.record.evaluation import Evaluation, Verdict, in_order
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine
from jinv.report.settings import Column, SettingRow, SettingsTable

SCHEMA = 1


@dataclass(frozen=True)
class SettingResult:
    """What became of one setting; `diverged_at` is the first step whose loss is not finite."""

    name: str
    changes: Mapping[str, Any]
    lines: Sequence[MetricsLine]
    evaluation: Evaluation | None = None
    diverged_at: int | None = None


def summarize(
    results: Sequence[SettingResult], programs: Sequence[Sequence[str]], manifest: Manifest
) -> dict[str, Any]:
    """Every setting with its final losses and the verifiers' opinions, the best first.

    `programs` lists what ran together; `manifest` is any setting's, for versions and device.
    """
    settings = [row_of(result) for result in results]
    settings.sort(key=_rank)
    return {
        "schema": SCHEMA,
        "varied": list(results[0].changes),
        "settings": settings,
        "programs": programs,
        "versions": {"jinv": manifest.jinv, **manifest.versions},
        "device": manifest.device,
    }


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """The settings as a table, the best first."""
    varied, settings = summary["varied"], summary["settings"]
    terms = list(dict.fromkeys(name for row in settings for name in row["terms"]))
    verifiers = list(dict.fromkeys(name for row in settings for name in row["verifiers"]))
    relations = {name: kin for row in settings for name, kin in row["relations"].items()}
    judged = (f"{name} ({relations[name]}) right" for name in verifiers)
    metrics = list(dict.fromkeys(name for row in settings for name in row.get("metrics", ())))
    shown = table("run", *varied, "total", *terms, *judged, *map(metric_column, metrics))
    for row in settings:
        values = [_text(row["changes"][key]) for key in varied]
        if row["diverged_at_step"] is not None:
            add(shown, row["run"].split("_")[0], *values, diverged_text(row))
            continue
        losses = [_number(row["total"]), *(_number(row["terms"].get(name)) for name in terms)]
        opinions = [f"{100 * row['verifiers'][name]:.0f} %" if name in row["verifiers"] else "" for name in verifiers]
        measured = [_number(row.get("metrics", {}).get(name)) for name in metrics]
        add(shown, row["run"].split("_")[0], *values, *losses, *opinions, *measured)
    (console or make_console()).print(shown)


def settings_table(summary: dict[str, Any], directory: Path) -> SettingsTable:
    """What the page of a sweep in `directory` shows."""
    settings, varied = summary["settings"], summary["varied"]
    columns = outcome_columns(settings)
    rows = [
        SettingRow(
            row["run"],
            directory / row["run"] if row["diverged_at_step"] is None else None,
            (*(row["changes"][key] for key in varied), *outcomes(row, columns)),
            diverged_text(row),
            best=place == 0 and row["diverged_at_step"] is None,
        )
        for place, row in enumerate(settings)
    ]
    short = short_keys(varied)
    keys = (Column(short[key], "varied") for key in varied)
    lead = f"{len(settings)} settings, which differ in {', '.join(varied)}."
    return SettingsTable(f"{directory.resolve().name}: a sweep", lead, (*keys, *columns), tuple(rows))


def outcome_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Columns for what came of settings: their judges, strangers first, their metrics, their total, their terms."""
    terms = dict.fromkeys(name for row in rows for name in row["terms"])
    relations = {name: kin for row in rows for name, kin in row["relations"].items()}
    judges = (Column(f"{name} recognises", "outcome", "higher", True, relations[name]) for name in relations)
    metrics = dict.fromkeys(metric_column(name) for row in rows for name in row.get("metrics", ()))
    measured = (Column(name, "outcome") for name in metrics)
    return (
        *judges,
        *measured,
        Column("total", "outcome", "lower"),
        *(Column(name, "outcome", "lower") for name in terms),
    )


def outcomes(row: Mapping[str, Any], columns: Sequence[Column]) -> Iterator[Any]:
    """A row's values in `outcome_columns`."""
    known = {f"{name} recognises": share for name, share in row["verifiers"].items()}
    known |= {metric_column(name): value for name, value in row.get("metrics", {}).items()}
    known |= {"total": row["total"]} | row["terms"]
    return (known.get(column.name) for column in columns)


def metric_column(name: str) -> str:
    """What the column of a plugin's metric is called; a term may have its name."""
    return f"{name} (metric)"


def diverged_text(row: Mapping[str, Any]) -> str:
    """What is said of a setting without images, "" of any other."""
    step = row["diverged_at_step"]
    return "" if step is None else f"diverged at step {step}"


def row_of(result: SettingResult) -> dict[str, Any]:
    """A setting in `sweep.json`."""
    # Like the reports: the mean over the batches of their last logged step, taken before its update.
    last = list({line.batch: line for line in result.lines}.values())
    diverged = result.diverged_at is not None
    judges = _judges(result.evaluation)
    names = list(last[0].terms) if last and not diverged else []
    pictures = None if diverged or result.evaluation is None else result.evaluation.pictures
    metrics = {name: figure.value for name, figure in (pictures.metrics if pictures else {}).items()}
    return {
        "run": result.name,
        "changes": result.changes,
        "diverged_at_step": result.diverged_at,
        "total": _mean([line.total for line in last]) if names else None,
        "terms": {name: _mean([line.terms[name].value for line in last if name in line.terms]) for name in names},
        "own_accuracy": _mean([line.accuracy for line in last]) if names else None,
        "verifiers": {} if diverged else {name: v.top1.value for name, v in judges.items()},
        "relations": {} if diverged else {name: v.kin for name, v in judges.items()},
    } | ({"metrics": metrics} if metrics else {})


def _judges(evaluation: Evaluation | None) -> dict[str, Verdict]:
    """The verdicts of those that the images were not made to please, strangers first."""
    verifiers = in_order(evaluation.verifiers) if evaluation else {}
    return {name: verdict for name, verdict in verifiers.items() if verdict.independent}


def _rank(row: dict[str, Any]) -> tuple[bool, float, float]:
    shares, relations = row["verifiers"], row["relations"]
    counted = [shares[name] for name in shares if relations[name] == "stranger"] or list(shares.values())
    accuracy = _mean(counted) if counted else 0.0
    loss = row["terms"].get("cross_entropy", row["total"])
    return row["diverged_at_step"] is not None, -accuracy, loss if loss is not None else 0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
