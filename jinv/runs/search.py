"""`jinv search`: trials that Optuna's samplers propose, each a run directory like a sweep's setting, some in one program.

    search.json       what was asked, and every trial: its values, objectives, and what held-out judges say of it
    study.jsonl       Optuna's journal (`jinv.runs.study`)
    0007_weight=...   a trial's run
    comparison.html   all of them

A trial is done once it is told to the study; one that was under way goes on in its directory, with the values it had.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jinv.console import make_console, say
from jinv.errors import Interrupted, NumericalError, RunConflictError, UnsafeInputError, UsageError
from jinv.experiment.numbers import Place, groups, varied_numbers
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.images.codec import read_image
from jinv.images.folder import MANIFEST
from jinv.judge.picture_metrics import picture_figures
from jinv.recipe.tuning import Tuned
from jinv.record.begun import is_begun
from jinv.record.directory import RunDirectory
from jinv.record.entry import read_json
from jinv.record.evaluation import Pictures
from jinv.record.kinds import COMPARISON, RECORDS, not_a
from jinv.record.lock import held
from jinv.record.pictures import picture_files
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.checks import check_run
from jinv.runs.objectives import Objective, figure_of, judged
from jinv.runs.panel import Panel, choose_panel, look_at_judges
from jinv.runs.progress import teller
from jinv.runs.search_summary import asked_table, search_table, summarize_search
from jinv.runs.stopping import Stop, stoppable
from jinv.runs.study import Study
from jinv.runs.sweep_part import SettingRun
from jinv.runs.sweep_settings import carry_out_parts, parts_of, prepare_settings, result_of
from jinv.runs.sweep_summary import row_of

RECORD = RECORDS["search"]


@dataclass(frozen=True)
class Search:
    """What is asked: `trials` of `tuned`, `at_once` in a program, for `objectives`; `held_out` judges look on."""

    tuned: Tuned
    objectives: tuple[Objective, ...]
    held_out: tuple[str, ...]
    trials: int
    at_once: int = 1
    sampler: str = "tpe"
    seed: int = 0


def run_search(
    search: Search,
    directory: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
) -> dict[str, Any]:
    """Carry a search out in `directory`; returns what `search.json` holds, the best trial first.

    Args:
      resume: go on with one that was interrupted, or with more trials than it was asked for; what is done stays.

    Raises:
      JinvError: anything a user can mend. NumericalError: every trial diverged. Interrupted: it was stopped; a call with
        `resume` goes on.
    """
    console = console or make_console(stderr=True)
    keep_freed_memory()
    RunDirectory(directory).check_place()
    shared, inside = Shared(), _runs_in(directory)
    with held(directory, teller(console), inside=inside) as alone:
        _check_directory(directory, search, resume)
        for name in ("", *inside) if alone else ():
            RunDirectory(directory / name).tidy()
        judges, tell = (search.objectives, search.held_out), teller(console)
        looks = look_at_judges(*judges, search.tuned.corners[0].recipe, shared, vocabulary, tell)
        experiments = [check_run(v.recipe, shared, vocabulary, say=tell, alone=False) for v in search.tuned.corners]
        panel = choose_panel(*judges, experiments[0], looks)
        for warning in panel.warnings:
            say(console, f"warning: {warning}")
        varied = _arguments(search.tuned, experiments[0].vocabulary)
        if not (directory / RECORD).exists():
            asked = summarize_search(_asked(search), [], [], panel, search.objectives, search.trials)
            RunDirectory(directory).write_json(RECORD, asked)
        upwards = [objective.maximize for objective in search.objectives]
        study = Study(directory, search.tuned.space, upwards, search.sampler, search.seed)
        state = _State(search, directory, study, panel, shared, vocabulary, varied, console)
        return state.carry_out()


@dataclass
class _State:
    """A search under way."""

    search: Search
    directory: Path
    study: Study
    panel: Panel
    shared: Shared
    vocabulary: Vocabulary | None
    varied: frozenset[Place]
    console: Console

    def carry_out(self) -> dict[str, Any]:
        """All trials that are not told yet, then what came of all.

        Raises:
          RunConflictError: more trials have ended than are asked for.
        """
        search, told = self.search, self.study.told
        if told > search.trials:
            raise RunConflictError(
                f"{self.directory}: {told} trials are done, --optuna {search.trials} asks for fewer; continue it with --optuna "
                f"{told} or more"
            )
        rows: dict[int, dict[str, Any]] = {}
        record = read_json(self.directory / RECORD)
        if isinstance(record, dict) and record.get("wanted") != search.trials:  # for who asks how far it is
            RunDirectory(self.directory).write_json(RECORD, record | {"wanted": search.trials})
        try:
            with stoppable() as stop:
                for first in range(0, search.trials, search.at_once):
                    numbers = range(first, min(first + search.at_once, search.trials))
                    stop.check(self.directory, f"before trial {first}")
                    rows |= self._batch(numbers, stop)
                    if numbers.stop >= told:  # until then the record has more than these
                        self._write(rows)
        except Interrupted as error:
            raise Interrupted(f"{error}; {self._told()} of {search.trials} trials are done") from None
        summary = self._write(rows)
        finished = [row for row in summary["trials"] if row["diverged_at_step"] is None]
        if not finished:
            raise NumericalError(f"{self.directory}: the loss of every trial stopped being finite; tune lower rates")
        from jinv.report.settings_page import write_settings_page

        write_settings_page(search_table(summary, self.directory), self.directory / COMPARISON)
        return summary

    def _batch(self, numbers: range, stop: Stop) -> dict[int, dict[str, Any]]:
        """The trials of these numbers, carried out and told: their rows."""
        search = self.search
        variations = [search.tuned.setting(number, self.study.ask(number)) for number in numbers]
        runs = prepare_settings(
            variations, self.directory, shared=self.shared, vocabulary=self.vocabulary, console=self.console
        )
        parts = parts_of(runs, varied=self.varied)
        for part in parts:
            if not part.finished:
                part.check_traces()
        last = f" to {numbers[-1]}" if len(numbers) > 1 else ""
        failed = carry_out_parts(parts, self.console, stop, before=f"trial {numbers[0]}{last} of {search.trials}, ")
        if failed is not None:  # what judges did not say can't be told: these trials stay open
            raise failed
        rows = {}
        for number, run in zip(numbers, runs, strict=True):
            rows[number] = row = self._row(number, run)
            self.study.tell(number, list(row["objectives"].values()) or None)
        return rows

    def _row(self, number: int, run: SettingRun) -> dict[str, Any]:
        """A trial in `search.json`; without objectives where it diverged."""
        result = result_of(run)
        row = {"trial": number} | row_of(result) | {"objectives": {}, "judges": {}}
        if run.diverged_at is not None:
            return row
        verdicts = self.panel.verdicts(result.evaluation)
        pictures = result.evaluation.pictures if result.evaluation else None
        pictures = pictures or _pictures(run.directory.path)
        objectives = {
            objective.name: figure_of(objective, run.experiment.recipe, verdicts, pictures)
            for objective in self.search.objectives
        }
        return row | {"objectives": objectives, "judges": {name: judged(v) for name, v in verdicts.items()}}

    def _write(self, rows: dict[int, dict[str, Any]]) -> dict[str, Any]:
        search = self.search
        asked = _asked(search)
        best, rows_now = self.study.best(), list(rows.values())
        summary = summarize_search(asked, rows_now, best, self.panel, search.objectives, search.trials)
        RunDirectory(self.directory).write_json(RECORD, summary)
        return summary

    def _told(self) -> int:
        return sum(self.study.is_told(number) for number in range(self.search.trials))


def _asked(search: Search) -> dict[str, Any]:
    return asked_table(search.tuned, search.objectives, search.held_out, search.sampler, search.seed)


def _pictures(run: Path) -> Pictures:
    files = picture_files(run).values()
    return picture_figures((read_image(run / file) for file in files), each=False)


def _arguments(tuned: Tuned, vocabulary: Vocabulary) -> frozenset[Place]:
    """The numbers that every trial's program takes as arguments, so that the next trials need no other program."""
    low, *others = tuned.corners
    found: set[Place] = set()
    for other in others:
        if len(groups([low, other], vocabulary)) == 1:
            found |= varied_numbers([low, other], vocabulary).keys()
    return frozenset(found)


def _runs_in(directory: Path) -> list[str]:
    """The names of trials' directories that are there."""
    entries = RunDirectory(directory).entries() if directory.is_dir() else []
    return sorted(path.name for path in entries if (path / MANIFEST).is_file())


def _check_directory(directory: Path, search: Search, resume: bool) -> None:
    """Can the search begin, or go on, there?

    Raises:
      RunConflictError: something is there, or what is to be continued is not this search. StorageError, UnsafeInputError: as
        `read_json`.
    """
    if not is_begun(directory, resume=resume):
        return
    record = read_json(directory / RECORD)
    if record is None:
        raise RunConflictError(f"{not_a('search', directory)}; choose another --out")
    before = record.get("asked") if isinstance(record, dict) else None
    if before is None:
        return
    if not isinstance(before, dict):
        raise UnsafeInputError(f"{directory / RECORD}: asked: {before!r:.200} must be a table")
    now = _asked(search)
    for key in now:
        if before.get(key) != now[key]:
            raise RunConflictError(
                f"{directory}: cannot be continued with another {key}: {before.get(key)!r:.200} then, {now[key]!r:.200} now"
            )


def check_held_out(objectives: Sequence[Objective], held_out: Sequence[str]) -> None:
    """Refuse a search for a judge's opinion that nobody else looks at.

    Raises:
      UsageError: there is no held-out judge, or it is the one that is optimised.
    """
    asked = [objective.judge for objective in objectives if objective.judge is not None]
    if asked and not held_out:
        raise UsageError(
            f"--held-out: which judge looks on? Images that are tuned to please {asked[0]} please it; whether they show their "
            "class says a network that is no relative of it"
        )
    for name in held_out:
        if name in asked:
            raise UsageError(f"--held-out {name}: is the judge that is optimised; it has to be another one")
