"""Gives a run to SLURM: an array of tasks, each of which becomes one `jinv worker`, and after them a job that is `jinv merge`.

All safety is in the units (`jinv.record.claims`): a task that dies, is put back into the queue or never begins costs time and
no image. submitit writes the batch scripts and hands them over, nothing more: a task's process is replaced by the worker,
so that signals reach it and its exit code is SLURM's; pickled results, submitit's time limits and checkpoints play no part.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinv.errors import Interrupted, RunConflictError, StorageError, UsageError
from jinv.experiment.plugin_names import OPTION
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import asides, changes_between
from jinv.record.directory import RunDirectory
from jinv.record.durable import sync_folders
from jinv.record.status import submitted
from jinv.runs.jobs_folder import keep_config, keep_plugins, withdrawn_if_refused

SIGNAL = "USR1@120"
"""Two minutes before a task's time is up it is told to keep its state and end."""

SHORTEST_MINUTES = 5
"""A task whose time is up sooner would be stopped while it still compiles, and begin anew for ever."""

OURS = ("array", "dependency", "output", "error", "open-mode", "requeue", "wrap")
"""Options of sbatch on which what is done here depends."""

LOG_LEVEL = "SUBMITIT_LOG_LEVEL"

AFTERWARDS = """\
code=$?
# 75: it kept its state and goes on elsewhere or later; 138 (SIGUSR1): it was told to before it listened. Where SLURM itself
# ends a task, by scancel or to make room, it is not running any more, and put back by SLURM if it is to be.
# By the task's own number: the id of one of an array's tasks is also the whole array's.
task=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
task=${task:-$SLURM_JOB_ID}
case $code in 75|138) [ "$(squeue -h -j "$task" -o %T)" = RUNNING ] && scontrol requeue "$task" ;; esac
exit $code"""

_TIME = re.compile(r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::\d+)?)?)|(?:\d+:)?\d+:\d+|\d+")


@dataclass(frozen=True)
class Jobs:
    """What was submitted. folder: where the scripts and logs are. merge: the job that completes the run."""

    folder: Path
    config: Path
    tasks: tuple[str, ...]
    merge: str

    @property
    def logs(self) -> Path:
        """The tasks' logs, as a pattern."""
        array = self.tasks[0].partition("_")[0]
        return self.folder / (f"{array}_*_log.out" if len(self.tasks) > 1 else f"{array}_0_log.out")


def submit(
    recipe: Recipe, directory: Path, tasks: int, options: Mapping[str, str | bool], plugins: Sequence[str] = ()
) -> Jobs:
    """Submit `tasks` workers on `directory`, and the job that completes the run after them.

    Args:
      options: of sbatch, as `check_options` leaves them.
      plugins: files and modules, for every worker, and for what completes the run.

    Raises:
      UsageError: submitit or SLURM are not here, or sbatch refuses. StorageError: the jobs' folder cannot be written, or a
        plugin cannot be read.
    """
    submitit = _submitit()
    refused = submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise UsageError("sbatch: not found, there is no SLURM here; --cluster local runs the tasks on this machine")
    if "%" in str(directory.absolute()):
        raise UsageError(f"{directory}: SLURM has its own meaning for % in the names of logs; choose another --out")
    folder = submitted(directory.absolute())

    def executor(**others: Any) -> Any:
        made = submitit.SlurmExecutor(folder=folder)
        parameters = {"signal": SIGNAL, "requeue": True, **options, **others}
        made.update_parameters(
            job_name=f"jinv {directory.name}"[:60], time=None, wckey=None, stderr_to_stdout=True,
            array_parallelism=tasks, additional_parameters=parameters,
            # A step does not inherit how many cores its job has.
            setup=['[ -z "${SLURM_CPUS_PER_TASK-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'],
            teardown=[AFTERWARDS],
        )  # fmt: skip
        return made

    def given(executor: Any, command: list[str], count: int) -> tuple[str, ...]:
        try:
            with redirect_stderr(io.StringIO()):  # where sbatch's words are repeated before they are raised
                jobs = executor.map_array(os.execv, [command[0]] * count, [command] * count)
        except refused as error:
            words = " ".join(str(error).replace("sbatch: error: ", "").split())
            raise UsageError(f"sbatch: {words[:300]}") from None
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
        return tuple(job.job_id for job in jobs)

    with withdrawn_if_refused(folder):
        config = keep_config(recipe, folder)
        kept = keep_plugins(plugins, folder)
        workers = given(executor(), worker_command(config, directory, *kept), tasks)
    after = f"afterany:{workers[0].partition('_')[0]}"
    try:
        (merge,) = given(executor(dependency=after), merge_command(directory, *kept), 1)
    except UsageError as error:
        raise UsageError(
            f"{error}; the tasks are submitted, {workers[0]} and on: jinv merge {directory} after them"
        ) from None
    return Jobs(folder, config, workers, merge)


def _submitit() -> Any:
    """The package.

    Raises:
      UsageError: it is not installed.
    """
    level = os.environ.get(LOG_LEVEL)
    os.environ[LOG_LEVEL] = "NOCONFIG"  # else its import would set up logging anew for the whole process
    try:
        import submitit

        return submitit
    except ImportError:
        raise UsageError('jinv submit needs submitit; run `pip install "jinv[slurm]"`') from None
    finally:
        del os.environ[LOG_LEVEL]
        if level is not None:
            os.environ[LOG_LEVEL] = level


def carry_out_here(
    recipe: Recipe, directory: Path, tasks: int, tell: Callable[[str], None], plugins: Sequence[str] = ()
) -> int:
    """Run `tasks` workers on this machine, and complete the run after them; returns the exit code.

    `tell` is told of those that ended otherwise than with their work done.

    SIGTERM and the first Ctrl-C stop them in a state that goes on, the second Ctrl-C at once.

    Raises:
      Interrupted: they were stopped. StorageError: their logs cannot be written.
    """
    from jinv.runs.stopping import stoppable

    folder = submitted(directory.absolute())
    config = keep_config(recipe, folder)
    kept = keep_plugins(plugins, folder)
    command = worker_command(config, directory, *kept)
    with stoppable() as stop:
        codes = _awaited([command] * tasks, folder, stop)
        stop.check(directory, f"with {tasks} tasks")
        for number, code in enumerate(codes):
            if code not in (0, 7):
                tell(f"task {number} ended with {code}: {_last_line(_log(folder, number))}")
        if not {0, 7} & set(codes):
            return codes[0] if codes[0] > 0 else 1
        (merged,) = _awaited([merge_command(directory, *kept)], None, stop)
        return merged


def worker_command(config: Path, directory: Path, *plugins: str) -> list[str]:
    """One worker, as any engine may start it."""
    out = str(directory.absolute())
    return [sys.executable, "-m", "jinv.cli", "worker", str(config), "--out", out, *_named(plugins)]


def merge_command(directory: Path, *plugins: str) -> list[str]:
    """What completes the run."""
    return [sys.executable, "-m", "jinv.cli", "merge", str(directory.absolute()), *_named(plugins)]


def _named(plugins: Sequence[str]) -> list[str]:
    return [word for plugin in plugins for word in (OPTION, plugin)]


def check_options(given: Mapping[str, str]) -> dict[str, str | bool]:
    """Options of sbatch by their long names; "true" stands for one without a value.

    Raises:
      UsageError: one is jinv's own affair, or cannot stand in a script; or tasks have too little time.
    """
    checked: dict[str, str | bool] = {}
    for key, value in given.items():
        name = key.replace("_", "-").lstrip("-")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise UsageError(f"--slurm {key[:60]}: no option of sbatch is called so; for example --slurm mem=16G")
        if name in OURS:
            raise UsageError(f"--slurm {name}: is set by jinv submit itself")
        if not value.isprintable() or not value:
            raise UsageError(f"--slurm {name}={value[:60]!r}: no value of an option of sbatch")
        if name == "signal" and not re.fullmatch(r"(SIG)?(USR1|TERM)@\d+", value):
            raise UsageError(f"--slurm signal={value[:60]}: USR1@SECONDS or TERM@SECONDS, which a worker hears")
        if name == "time":
            _check_time(value)
        checked[name] = True if value == "true" else value
    return checked


def check_directory(directory: Path, recipe: Recipe) -> bool:
    """Can workers begin, or go on, there? False where nothing is left to do.

    A network's weights and names are not looked at: the first worker does that.

    Raises:
      StorageError, RunConflictError: it is no place for a run, no run, or another config's.
    """
    run = RunDirectory(directory)
    run.check(resume=True)
    manifest = run.manifest()
    if manifest is None or manifest.image_size is None:
        return True
    labels = list(manifest.labels)
    changed = changes_between(run.config(), recipe, labels, manifest.image_size, ignored=set(asides()))
    if changed:
        raise RunConflictError(f"{directory}: was begun with another config: {'; '.join(changed)}")
    if manifest.finished:
        sync_folders(run.path)  # who sealed it may have been killed just then
    return manifest.finished is None


def _check_time(text: str) -> None:
    """SLURM's forms: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes ..."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"--time {text[:60]}: 90 (minutes), 2:00:00 or 1-12 (days-hours), for example")
    if match["days"]:
        minutes = 1440 * int(match["days"]) + 60 * int(match["hours"]) + int(match["minutes"] or 0)
    else:
        parts = [int(part) for part in text.split(":")]
        minutes = 60 * parts[0] + parts[1] if len(parts) == 3 else parts[0]
    if minutes < SHORTEST_MINUTES:
        raise UsageError(
            f"--time {text}: at least {SHORTEST_MINUTES} minutes; two before its end a task is told to stop"
        )


def _log(folder: Path, number: int) -> Path:
    return folder / f"local_{number}_log.out"


def _last_line(path: Path) -> str:
    """What a task said last, or where nothing is to be found of it."""
    try:
        lines = path.read_bytes()[-4096:].decode(errors="replace").split("\n")
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), f"nothing in {path}")


def _awaited(commands: list[list[str]], logs: Path | None, stop: Any) -> list[int]:
    """Run the commands side by side; their exit codes. A stop that is asked for is passed on once."""
    processes: list[subprocess.Popen[bytes]] = []
    told = False
    try:
        for number, command in enumerate(commands):
            # A session of its own: Ctrl-C at the terminal would reach it beside what is passed on.
            if logs is None:
                processes.append(subprocess.Popen(command, start_new_session=True))
                continue
            with _log(logs, number).open("ab") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        while any(process.poll() is None for process in processes):
            if stop.asked and not told:
                told = True
                for process in processes:
                    process.terminate()
            time.sleep(0.05)
    except OSError as error:
        raise StorageError(f"{logs}: cannot be written: {error.strerror or error}") from error
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    if stop.asked and any(process.returncode == 75 for process in processes):
        raise Interrupted(f"{len(commands)} tasks stopped; the same command goes on")
    return [process.returncode for process in processes]
