"""`jinv search`: settings that Optuna's samplers choose."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_log, add_plugins, add_positional, add_words, log_override, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError, legible, nearest

HELP = "numbers of a config tuned by Optuna for what a judge says, with another judge looking on"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(command, "config", "CONFIG.toml")
    command.add_argument("--optuna", type=int, metavar="N", help="so many trials")
    tune = "what may change, and between what: low:high, low:high:log, or a list to choose from"
    add_words(command, "--tune", "key.path=low:high[:log]", tune, positional="config", dest="tune")
    objective = (
        "what is improved: JUDGE.confidence, JUDGE.accuracy, steps, high_frequency_energy, a plugin's metric ...; :min or "
        ":max behind it"
    )
    command.add_argument("--objective", action="append", default=[], metavar="NAME", help=objective)
    held_out = "a judge that is no relative of the others; it is asked of every trial and decides nothing"
    command.add_argument("--held-out", action="append", default=[], metavar="JUDGE", help=held_out)
    command.add_argument("--sampler", default="tpe", metavar="NAME", help="tpe, random, nsga2 or cmaes (default: tpe)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the sampler (default: 0)")
    at_once = "ask for K trials at a time, which run side by side in one program (default: 1)"
    command.add_argument("--at-once", type=int, default=1, metavar="K", help=at_once)
    set_help = "change a config value in every trial"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    add_log(command)
    command.add_argument(
        "--resume", action="store_true", help="continue an interrupted search in DIR, or add trials to it"
    )
    add_plugins(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="its directory (default: runs/<config name>_search)")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.recipe.packaged import check_packaged_files, find_config
    from jinv.recipe.tuning import MAXIMUM_TRIALS, read_tuned

    if arguments.config is None:
        raise UsageError("search: which CONFIG.toml? For example: jinv search demo --optuna 20 --tune seed=0:99 ...")
    if arguments.optuna is None:
        raise UsageError("search: how many trials? For example: --optuna 20")
    if not 1 <= arguments.optuna <= MAXIMUM_TRIALS:
        raise UsageError(f"--optuna: {arguments.optuna} must be from 1 to {MAXIMUM_TRIALS} trials")
    if arguments.at_once < 1:
        raise UsageError(f"--at-once: {arguments.at_once} must be a whole number of at least 1")
    if not 0 <= arguments.seed < 2**32:
        raise UsageError(f"--seed: {arguments.seed} must be a whole number from 0 to {2**32 - 1}")
    from jinv.experiment.metrics import metrics_of_plugins
    from jinv.runs.objectives import EXAMPLE, parse_objective
    from jinv.runs.search import Search, check_held_out, run_search
    from jinv.runs.search_summary import print_search
    from jinv.runs.study import SAMPLERS, check_sampler

    if arguments.sampler not in SAMPLERS:
        hint = nearest(arguments.sampler, SAMPLERS)
        raise UsageError(f"--sampler {arguments.sampler}: no such sampler{hint} (known: {', '.join(SAMPLERS)})")
    vocabulary = vocabulary_of(arguments)
    metrics = metrics_of_plugins(vocabulary)
    objectives = tuple(parse_objective(text, metrics) for text in arguments.objective)
    if not objectives:
        raise UsageError(f"search: what is improved? For example: {EXAMPLE}")
    if len({objective.name for objective in objectives}) < len(objectives):
        raise UsageError("--objective: one is given twice")
    check_held_out(objectives, arguments.held_out)
    config = find_config(arguments.config)
    judges = [*(objective.judge for objective in objectives if objective.judge is not None), *arguments.held_out]
    measured = [objective.figure for objective in objectives if objective.metric is not None]
    overrides = [*arguments.overrides, *log_override(arguments)]
    tuned = read_tuned(config, arguments.tune, overrides=overrides, judges=judges, metrics=measured)
    check_sampler(arguments.sampler, tuned.space, len(objectives))
    for corner in tuned.corners:
        check_packaged_files(config, corner.recipe)
    out = arguments.out or Path("runs") / f"{config.stem}_search"
    ready_to_compute()
    search = Search(
        tuned=tuned,
        objectives=objectives,
        held_out=tuple(arguments.held_out),
        trials=arguments.optuna,
        at_once=arguments.at_once,
        sampler=arguments.sampler,
        seed=arguments.seed,
    )
    print_search(run_search(search, out, resume=arguments.resume, vocabulary=vocabulary))
    print(legible(f"trials     {out / 'search.json'}\ncomparison {out / 'comparison.html'}"))
    return 0
