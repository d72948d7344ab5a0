"""`jinv reproduce`: carries a folder of experiments out, and sets what they gave beside what their source claims.

    OUT/index.html   OUT/figure_4_4/sheet.html   OUT/figure_4_4/sheet.jpg   OUT/runs/4.4-lite0/ ...   OUT/findings.json

Finished runs are kept and unfinished ones continued, so an interrupted reproduction goes on where it stopped. Whatever
can be wrong with a run before its first step is found before the first run's.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from jinv.console import make_console, say
from jinv.errors import (
    Interrupted,
    JinvError,
    MemoryLimitError,
    NumericalError,
    RunConflictError,
    StorageError,
    UsageError,
    legible,
)
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.files import write_text
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.reproduce.findings import judge_claims, numbers_of
from jinv.reproduce.pages import write_index, write_sheet
from jinv.reproduce.plan import Choices, Panel, Sheets, choose_figures, network_title, plan, read_sheets
from jinv.runs.checks import check_run, check_same
from jinv.runs.progress import teller
from jinv.runs.synthesize import run


@dataclass(frozen=True)
class Means:
    """What all runs of a reproduction have in common."""

    shared: Shared
    vocabulary: Vocabulary | None
    console: Console


def reproduce(
    folder: str | Path,
    out: str | Path,
    choices: Choices,
    *,
    only: Sequence[str] = (),
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
) -> Path:
    """Carry out what `folder/sheets.toml` lists; returns the path of `index.html`.

    `only` limits what is run; sheets and findings take in whatever runs are finished in `out`. `vocabulary` is what the
    configs' names stand for.

    Raises:
      JinvError: a config, model or option that is wrong, as `jinv.runs.synthesize.run`.
      RunConflictError: `out` has a run with other settings. Interrupted: stopped; the same command goes on.
      NumericalError, MemoryLimitError: some runs ended that way, the others were carried out; the pages say which.
    """
    console, out = console or make_console(stderr=True), Path(out)
    sheets = read_sheets(folder)
    wanted = choose_figures(sheets, only)
    panels = plan(sheets, choices)
    chosen = [panel for panel in panels if panel.figure in wanted and panel.recipe is not None]
    if not chosen:
        reasons = dict.fromkeys(panel.skipped for panel in panels if panel.figure in wanted)
        raise UsageError(f"reproduce: nothing can be run: {'; '.join(reasons)}")
    runs = unique_runs(chosen)
    shared = Shared()
    for panel in runs.values():
        assert panel.recipe is not None
        check_run(panel.recipe, shared, vocabulary, say=teller(console))
    with held(out, teller(console)):
        return _carry_out(sheets, panels, choices, out, runs, Means(shared, vocabulary, console))


def _carry_out(
    sheets: Sheets,
    panels: Sequence[Panel],
    choices: Choices,
    out: Path,
    runs: Mapping[str, Panel],
    means: Means,
) -> Path:
    """What `reproduce` does once nothing is found to be wrong, in a directory that is held."""
    console = means.console
    try:
        (out / "runs").mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot be created: {error.strerror}") from error
    failed: dict[str, NumericalError | MemoryLimitError] = {}
    for number, (name, panel) in enumerate(runs.items(), 1):
        say(console, f"\nrun {number} of {len(runs)}: {name}")
        assert panel.recipe is not None
        try:
            place, shared, vocabulary = out / "runs" / name, means.shared, means.vocabulary
            run(panel.recipe, place, resume=True, console=console, shared=shared, vocabulary=vocabulary)
        except Interrupted as error:
            raise Interrupted(f"{error}; the same jinv reproduce command does so") from None
        except (NumericalError, MemoryLimitError) as error:
            failed[name] = error
            say(console, f"{name}: {error}")
    panels = [replace(p, recipe=None, skipped=str(failed[p.run])) if p.run in failed else p for p in panels]
    index = write_pages(sheets, panels, choices, out, carried_out=set(runs), vocabulary=means.vocabulary)
    for name, failure in failed.items():
        more = f"; {len(failed)} of {len(runs)} runs failed" if len(failed) > 1 else ""
        raise type(failure)(f"{name}: {failure}{more}; the pages have the others: {index}")
    return index


def unique_runs(panels: Sequence[Panel]) -> dict[str, Panel]:
    """The runs that panels need, by name, each once."""
    result: dict[str, Panel] = {}
    for panel in panels:
        if panel.recipe is not None:
            result.setdefault(panel.run, panel)
    return result


def write_pages(
    sheets: Sheets,
    panels: Sequence[Panel],
    choices: Choices,
    out: Path,
    *,
    carried_out: Collection[str] = (),
    vocabulary: Vocabulary | None = None,
) -> Path:
    """A sheet per figure, the findings and the index, from whatever runs are finished; returns the index's path.

    Runs that are not among those `carried_out` just now count only if they were made as their panels say.
    """
    shared = Shared()
    panels = [p if p.run in carried_out else _as_made(out, p, shared, vocabulary) for p in panels]
    made = [panel for panel in panels if panel.recipe is not None]
    measured = {
        (p.figure, p.network, p.variant): numbers_of(out / "runs" / p.run, f"figure {p.figure}, {p.title}")
        for p in made
    }
    networks = [name for name, network in sheets.networks.items() if network.preset == choices.preset]
    twins = {name: twin for name in networks if (twin := sheets.networks[name].twin)}
    found = judge_claims(measured, networks, twins)
    findings = [
        {
            "claim": text,
            "findings": [
                {
                    "network": network_title(sheets, choices, name) if name else "",
                    "verdict": finding.verdict,
                    "sentence": finding.sentence,
                }
                for name, finding in entries
            ],
        }
        for text, entries in found
    ]
    write_text(out / "findings.json", json.dumps(legible(findings), indent=1, ensure_ascii=False) + "\n")
    summaries = []
    for figure in sheets.figures:
        own = [panel for panel in panels if panel.figure == figure.id]
        summaries.append(write_sheet(figure, own, out, sheets.folder))
    return write_index(sheets, choices.preset, summaries, findings, out)


def _as_made(out: Path, panel: Panel, shared: Shared, vocabulary: Vocabulary | None) -> Panel:
    """The panel, or why its run does not show: it is not there, or was made with other settings or weights."""
    if panel.recipe is None:
        return panel
    run_directory = RunDirectory(out / "runs" / panel.run)
    manifest = run_directory.manifest()
    if manifest is None or not manifest.finished:
        return replace(panel, recipe=None, skipped="not run yet")
    try:
        check_same(run_directory, manifest, check_run(panel.recipe, shared, vocabulary), everything=True)
    except RunConflictError:
        return replace(panel, recipe=None, skipped="run with other settings than these")
    except JinvError as error:
        return replace(panel, recipe=None, skipped=str(error))
    return panel
