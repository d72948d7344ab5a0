"""`jinv status`: how far a run, a sweep, a search, a training or a distillation is, from its records alone; no jax, so a login node can."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinv.errors import NumericalError, UsageError, legible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jinv.record.standing import AnyStatus, SearchStatus
    from jinv.record.status import Running, RunStatus, SweepStatus

HELP = "how far a run, a sweep, a search, a training or a distillation is: what is done, running and failed, how fast, time left"

SHOWN = 12
"""Units, settings or numbers of which each has its line or word; of more only how many."""


LONGEST_S = 86_400
"""Between two looks: a day."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("directory", type=Path, metavar="DIR", help="its directory")
    command.add_argument(
        "--json", action="store_true", help="all that is known, as JSON; with --watch an object per line"
    )
    watch = "look again every so many seconds until nothing is to be waited for"
    command.add_argument("--watch", type=float, metavar="SECONDS", help=watch)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.record.standing import read_any_status

    if arguments.watch is None:
        _show(read_any_status(arguments.directory), arguments.json)
        return 0
    if not 0.1 <= arguments.watch <= LONGEST_S:
        raise UsageError(f"--watch {arguments.watch:g}: from 0.1 to {LONGEST_S} seconds")
    if (failed := _failed(_watched(arguments.directory, arguments.watch, arguments.json))) is not None:
        raise NumericalError(f"{arguments.directory}: {failed}")
    return 0


def _failed(status: "AnyStatus") -> str | None:
    """Why what is over came to nothing, in words; None where it did not."""
    if status.kind == "run" and status.state == "failed":
        return f"units failed: {_numbers(status.failed)}"
    if status.kind == "training" and status.state == "diverged":
        return f"diverged at update {status.diverged_at_step}"
    if status.kind == "distillation" and status.state == "failed":
        return f"sources failed: {', '.join(status.failed)}"
    return None


def _show(status: "AnyStatus", as_json: bool, indent: int | None = 1, before: Sequence[str] = ()) -> list[str]:
    """Print what is not among the lines that were there `before`; returns all of them."""
    from rich.console import Group

    from jinv.console import make_console, plain

    lines = [json.dumps(legible(status.to_json()), indent=indent)] if as_json else list(_lines(status))
    if new := [line for line in lines if line not in before]:
        if as_json:
            print(*new, flush=True)
        else:
            make_console().print(Group(*map(plain, new)))
            sys.stdout.flush()
    return lines


def _watched(directory: Path, seconds: float, as_json: bool) -> "AnyStatus":
    """Shows what is new until nothing is to be waited for; returns that."""
    from rich.live import Live

    from jinv.console import make_console
    from jinv.record.standing import read_any_status

    console = make_console()
    status = read_any_status(directory)
    if as_json or not console.is_terminal:
        lines = _show(status, as_json, None)
        while not status.is_over:
            time.sleep(seconds)
            status = read_any_status(directory)
            lines = _show(status, as_json, None, lines)
        return status
    with Live(shown(status), console=console, auto_refresh=False) as live:
        while not status.is_over:
            time.sleep(seconds)
            status = read_any_status(directory)
            live.update(shown(status), refresh=True)
    return status


def shown(status: "AnyStatus") -> "RenderableType":
    """What a person sees."""
    from rich.console import Group

    from jinv.console import plain

    return Group(*map(plain, _lines(status)))


def _lines(status: "AnyStatus") -> Iterator[str]:
    from jinv.commands.standing import distillation_lines, training_lines

    match status.kind:
        case "run":
            return _run_lines(status)
        case "training":
            return training_lines(status)
        case "distillation":
            return distillation_lines(status)
        case _:
            return _settings_lines(status)


def _run_lines(status: "RunStatus") -> Iterator[str]:
    from jinv.console import clock_text

    if status.state == "not begun":
        said = "nothing is computed yet" if status.images else "submitted; no worker has begun"
        yield f"{status.path}: {f'nothing is written yet; {status.at_work} is at work' if status.at_work else said}"
        return
    words = {"finished": f"finished {status.finished}", "complete": "every unit is there; jinv merge completes it"}
    words["failed"] = "every other unit is there"
    yield f"{status.path}: {words.get(str(status.state), 'unfinished')}"
    yield f"images   {status.images_done:,} of {status.images:,}"
    yield f"units    {status.units_done:,} of {status.units:,}"
    if status.failed:
        yield f"failed   {len(status.failed)}: {_numbers(status.failed)}"
    if status.images_per_second:
        left = "" if not status.seconds_left else f", {clock_text(status.seconds_left)} left"
        whose = " and worker" if status.state == "finished" else ""
        yield f"rate     {status.images_per_second:.3g} images per second{whose}{left}"
    if status.seconds_spent:
        yield f"spent    {clock_text(status.seconds_spent)}" + (" by all workers" if len(status.workers) > 1 else "")
    if status.running or status.workers:
        at_work = sum(worker.at_work for worker in status.workers)
        yield f"running  {sum(not unit.silent for unit in status.running)} units by {at_work} of {len(status.workers)} workers"
    for unit in status.running[:SHOWN]:
        yield f"  {_unit_text(unit)}"
    if len(status.running) > SHOWN:
        yield f"  and {len(status.running) - SHOWN} more (--json has all)"


def _unit_text(unit: "Running") -> str:
    from jinv.console import clock_text

    who = f"pid {unit.owner.pid} on {unit.owner.host} since {unit.owner.since}" if unit.owner else "somebody"
    state = "silent for" if unit.silent else "heard of"
    ago = clock_text(unit.heard) + ("; whoever is at work takes it over" if unit.silent else " ago")
    return f"unit {unit.unit}: {who}, {state} {ago}"


def _settings_lines(sweep: "SweepStatus | SearchStatus") -> Iterator[str]:
    if sweep.kind == "search":
        of = "" if sweep.trials is None else f" of {sweep.trials:,}"
        diverged = f", {sweep.diverged:,} of them diverged" if sweep.diverged else ""
        yield f"{sweep.path}: a search, {sweep.done:,}{of} trials are done{diverged}"
        if sweep.at_work:
            yield f"running  {sweep.at_work}"
    else:
        finished = sum(setting.state == "finished" for setting in sweep.settings)
        yield f"{sweep.path}: a sweep, {finished} of {len(sweep.settings)} settings that have begun are finished"
    open_first = sorted(sweep.settings, key=lambda setting: setting.state == "finished")
    for setting in open_first[:SHOWN]:
        done = setting.problem or f"{setting.state}, {setting.images_done:,} of {setting.images:,} images"
        rate = f", {setting.images_per_second:.3g} images per second" if setting.images_per_second else ""
        yield f"  {Path(setting.path).name}: {done}{rate}"
    if len(open_first) > SHOWN:
        yield f"  and {len(open_first) - SHOWN} more (--json has all)"


def _numbers(numbers: tuple[int, ...]) -> str:
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return ", ".join(map(str, numbers[:SHOWN])) + more
