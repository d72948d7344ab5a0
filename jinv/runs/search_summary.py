"""What a search found: `search.json`, the table of the command line and that of the page, the best trials first."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from jinv.console import add, make_console, say, table
from jinv.recipe.ranges import Interval
from jinv.recipe.tuning import Tuned
from jinv.recipe.variations import short_keys
from jinv.report.charts import format_number
from jinv.report.settings import Column, SettingRow, SettingsTable
from jinv.runs.objectives import JUDGED, Objective
from jinv.runs.panel import Panel
from jinv.runs.sweep_summary import diverged_text, metric_column, outcome_columns, outcomes

SCHEMA = 1
HELD_OUT_FIGURE = JUDGED[0]


def asked_table(
    tuned: Tuned, objectives: Sequence[Objective], held_out: Sequence[str], sampler: str, seed: int
) -> dict[str, Any]:
    """What decides a search's trials, as `search.json` has it."""
    space = {
        key: [among.low, among.high, "log" if among.logarithmic else "lin"]
        if isinstance(among, Interval)
        else list(among)
        for key, among in tuned.space.items()
    }
    directions = {objective.name: "max" if objective.maximize else "min" for objective in objectives}
    asked = {"tune": space, "objectives": directions, "held_out": list(held_out), "sampler": sampler, "seed": seed}
    metrics = {objective.name: objective.metric.sha256 for objective in objectives if objective.metric is not None}
    return asked | ({"metrics": metrics} if metrics else {})


def summarize_search(
    asked: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    best: Sequence[int],
    panel: Panel,
    objectives: Sequence[Objective],
    wanted: int,
) -> dict[str, Any]:
    """Every trial, the best first: those that none is better than in every objective, then by the first objective.

    `wanted`: how many were asked for, of which some may be to come.
    """

    def rank(row: dict[str, Any]) -> tuple[bool, bool, float]:
        value = row["objectives"].get(objectives[0].name) if row["objectives"] else None
        worse = 0.0 if value is None else -value if objectives[0].maximize else value
        return value is None, row["trial"] not in best, worse

    judges = [
        {"name": judge.name} | {key: value for key, value in asdict(judge).items() if key not in ("name", "digests")}
        for judge in panel.judges
    ]
    return {
        "schema": SCHEMA,
        "asked": asked,
        "wanted": wanted,
        "judges": judges,
        "warnings": list(panel.warnings),
        "best": list(best),
        "trials": sorted(rows, key=rank),
    }


def search_table(summary: dict[str, Any], directory: Path) -> SettingsTable:
    """What the page of a search in `directory` shows."""
    asked, trials = summary["asked"], summary["trials"]
    keys, objectives = list(asked["tune"]), asked["objectives"]
    better = {"max": "higher", "min": "lower"}
    short = short_keys(keys)
    known = {judge["name"]: judge for judge in summary["judges"]}
    columns = [Column(short[key], "varied") for key in keys]
    for name, direction in objectives.items():
        judge = known.get(name.rpartition(".")[0])
        note = f"{judge['to_network']} to the network" if judge else ""
        columns.append(Column(name, "objective", better[direction], judge is not None, note))  # type: ignore[arg-type]
    held_out = _held_out_columns(summary)
    columns += [Column(name, "held out", "higher", True, note) for name, _, note in held_out]
    shown = {*objectives, *map(metric_column, objectives)}
    outcome = [column for column in outcome_columns(trials) if column.name not in shown]
    rows = [
        SettingRow(
            row["run"],
            directory / row["run"] if row["diverged_at_step"] is None else None,
            (
                *(row["changes"][key] for key in keys),
                *(row["objectives"].get(name) for name in objectives),
                *(row["judges"].get(judge, {}).get(HELD_OUT_FIGURE) for _, judge, _ in held_out),
                *outcomes(row, outcome),
            ),
            diverged_text(row),
            best=row["trial"] in summary["best"],
        )
        for row in trials
    ]
    lead = (
        f"{len(trials)} trials by Optuna's sampler {asked['sampler']}, tuned in {', '.join(keys)}. {_verdict(summary)}"
    )
    title = f"{directory.resolve().name}: a search"
    return SettingsTable(title, lead.strip(), (*columns, *outcome), tuple(rows), tuple(summary["warnings"]))


def print_search(summary: dict[str, Any], console: Console | None = None, shown: int = 12) -> None:
    """The best trials as a table, and what the held-out judges make of the choice."""
    console = console or make_console()
    asked, keys = summary["asked"], list(summary["asked"]["tune"])
    held_out = _held_out_columns(summary)
    short = short_keys(keys)
    ways = (f"{name} ({direction})" for name, direction in asked["objectives"].items())
    grid = table("", "trial", *(short[key] for key in keys), *ways, *(f"held out: {name}" for name, _, _ in held_out))
    for row in summary["trials"][:shown]:
        values = [_text(row["changes"][key]) for key in keys]
        figures = [_text(row["objectives"].get(name)) for name in asked["objectives"]]
        figures = [diverged_text(row)] if row["diverged_at_step"] is not None else figures
        others = [_text(row["judges"].get(judge, {}).get(HELD_OUT_FIGURE)) for _, judge, _ in held_out]
        add(grid, "*" if row["trial"] in summary["best"] else "", str(row["trial"]), *values, *figures, *others)
    console.print(grid)
    if len(summary["trials"]) > shown:
        say(console, f"and {len(summary['trials']) - shown} more")
    for text in (_verdict(summary), *(f"warning: {text}" for text in summary["warnings"])):
        if text:
            say(console, text)


def _held_out_columns(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, judge, what it is to the others) of what held-out judges say."""
    return [
        (
            f"{judge['name']}.{HELD_OUT_FIGURE}",
            judge["name"],
            f"{judge['to_network']} to the network"
            + (f", {judge['to_optimised']} to the judge optimised" if judge["to_optimised"] else ""),
        )
        for judge in summary["judges"]
        if judge["held_out"]
    ]


def _verdict(summary: dict[str, Any]) -> str:
    """Whether who is held out would have chosen the same, in a sentence; "" where there is nobody or nothing to say."""
    trials = {row["trial"]: row for row in summary["trials"]}
    said = []
    for name, judge, _ in _held_out_columns(summary):
        known = {n: row["judges"][judge][HELD_OUT_FIGURE] for n, row in trials.items() if judge in row["judges"]}
        best = [number for number in summary["best"] if number in known]
        if not best:
            continue
        mine, theirs = max(best, key=known.__getitem__), max(known, key=known.__getitem__)
        what = f"{name}, held out, is {_text(known[mine])} for trial {mine}"
        others = "the best" if len(best) == 1 else "among the best"
        if known[mine] >= known[theirs]:
            said.append(f"{what}, {others} by the objective, and no higher for any other.")
        else:
            said.append(f"{what}, {others} by the objective; highest it is for trial {theirs}, {_text(known[theirs])}.")
    return " ".join(said)


def _text(value: Any) -> str:
    return "" if value is None else format_number(value) if isinstance(value, float) else str(value)
