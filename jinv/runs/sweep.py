"""Carries a sweep out: group by group in one program each, a run directory per setting, and what compares them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jinv.console import make_console
from jinv.errors import Interrupted, NumericalError, RunConflictError
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.recipe.variations import Variation
from jinv.record.begun import is_begun
from jinv.record.directory import RunDirectory
from jinv.record.kinds import COMPARISON, RECORDS
from jinv.record.lock import held
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.progress import teller
from jinv.runs.stopping import stoppable
from jinv.runs.sweep_part import Part, SettingRun
from jinv.runs.sweep_settings import carry_out_parts, done_text, parts_of, prepare_settings, result_of
from jinv.runs.sweep_summary import settings_table, summarize

RECORD = RECORDS["sweep"]


def run_sweep(
    variations: Sequence[Variation],
    directory: Path,
    *,
    at_once: int | None = None,
    resume: bool = False,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
    shared: Shared | None = None,
) -> dict[str, Any]:
    """Carry every variation out in `directory`; returns what `sweep.json` holds, the best setting first.

    Args:
      shared: networks and programs of earlier runs, to be used again.
      at_once: at most so many settings in one program at a time, where all would need too much memory.
      resume: go on with a sweep that was interrupted; settings, batches and checkpoints that are there are kept.

    Raises:
      JinvError: anything a user can mend; an evaluation's, once every setting's images are recorded.
      NumericalError: every setting diverged; where only some do they are marked.
      Interrupted: it was stopped; a call with `resume` goes on.
    """
    console = console or make_console(stderr=True)
    keep_freed_memory()
    RunDirectory(directory).check_place()
    names = [variation.name for variation in variations]
    with held(directory, teller(console), inside=names) as alone:
        _check_directory(directory, variations, resume)
        for name in ("", *names) if alone else ():
            RunDirectory(directory / name).tidy()
        runs = prepare_settings(
            variations, directory, shared=shared or Shared(), vocabulary=vocabulary, console=console
        )
        parts = parts_of(runs, at_once)
        for part in parts:
            if not part.finished:
                part.check_traces()
        return _carry_out(directory, runs, parts, console)


def _carry_out(directory: Path, runs: Sequence[SettingRun], parts: Sequence[Part], console: Console) -> dict[str, Any]:
    """What `run_sweep` does once nothing is found to be wrong, in a directory that is held."""
    started = time.monotonic()
    try:
        with stoppable() as stop:
            failed = carry_out_parts(parts, console, stop)
    except Interrupted as error:
        raise Interrupted(f"{error}; {done_text(runs)}") from None
    programs = [[run.variation.name for run in part.members] for part in parts]
    summary = summarize([result_of(run) for run in runs], programs, runs[0].manifest)
    summary["wall_seconds"] = round(time.monotonic() - started, 1)
    RunDirectory(directory).write_json(RECORD, summary)
    finished = [run.directory.path for run in runs if run.diverged_at is None]
    if len(finished) > 1:
        from jinv.report.settings_page import write_settings_page

        write_settings_page(settings_table(summary, directory), directory / COMPARISON)
    if not finished:
        raise NumericalError(f"{directory}: the loss of every setting stopped being finite; lower the learning rates")
    if failed is not None:
        raise failed
    return summary


def _check_directory(directory: Path, variations: Sequence[Variation], resume: bool) -> None:
    """Can the sweep begin, or go on, there?

    Raises:
      RunConflictError: something is there, or what is to be continued is not this sweep. StorageError: as `RunDirectory`.
    """
    if not is_begun(directory, resume=resume):
        return
    known = {variation.name for variation in variations} | {RECORD, COMPARISON}
    found = (path.name for path in directory.iterdir() if not path.name.startswith("."))
    strange = sorted(name for name in found if name not in known)
    if strange:
        raise RunConflictError(f"{directory}: {strange[0]} is no setting of this sweep; choose another --out")
    for variation in variations:
        RunDirectory(directory / variation.name).check(resume=True)
