"""The command line. Importing it, and `jinv --help`, load neither jax nor torch; each command imports what it needs."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinv import __version__
from jinv.errors import JinvError, MemoryLimitError, UsageError, nearest

EPILOG = """\
exit codes: 0 done; 2 usage, config or unknown name; 3 unsafe or malformed input; 4 does not match the model;
5 I/O, disk or missing file; 6 run-directory conflict; 7 numerical failure; 8 out of memory;
75 interrupted and resumable; 130 Ctrl-C
"""


class _Parser(argparse.ArgumentParser):
    """Errors are one line, with the nearest valid name."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = list(action.choices)
            raise UsageError(f"no such command {value!r}{nearest(str(value), known)} (known: {', '.join(known)})")


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command; `run` holds the function that carries the command out."""
    parser = _Parser(
        prog="jinv",
        description="Turns trained image classifiers inside out: exact conversion from PyTorch, images by model inversion.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jinv {__version__}")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    command = _command(
        commands, "synthesize", _synthesize, "carry out an experiment: images of chosen classes from a config"
    )
    command.add_argument("config", nargs="?", metavar="CONFIG.toml")
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="key.path=value", dest="overrides",
                         help="change a config value, such as --set image.count=4 stages.0.steps=50")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="DIR", help="the run directory (default: runs/<config name>)")
    command.add_argument("--resume", action="store_true", help="continue an interrupted run in DIR")
    command.add_argument("--memory", nargs="?", const="", metavar="BUDGET",
                         help="run nothing: print the memory needed and the largest batch in BUDGET (such as 8GB)")  # fmt: skip
    command.add_argument("--replace", action="store_true", help="remove an earlier run in DIR first")

    command = _command(
        commands,
        "sweep",
        _sweep,
        "one experiment in many settings, side by side in one program, and what compares them",
    )
    command.add_argument("config", nargs="?", metavar="CONFIG.toml")
    command.add_argument("--vary", nargs="+", action="extend", default=[], metavar="key.path=[value,...]",
                         help="every combination of these values; numbers of terms, augmentations, learning rates, "
                         "schedules, betas, and seeds and labels run in one program, anything else in one of its own")  # fmt: skip
    command.add_argument(
        "--zip", action="store_true", help="pair the values instead: the first of each, the second ..."
    )
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="key.path=value", dest="overrides",
                         help="change a config value in every setting")  # fmt: skip
    command.add_argument("--at-once", type=int, metavar="K",
                         help="at most K settings at a time; each takes the memory of a run (default: all)")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="DIR", help="its directory (default: runs/<config name>_sweep)")

    command = _command(
        commands, "jinv_convert", _convert, "convert a PyTorch checkpoint to Flax, without running anything in it"
    )
    _lazy_arguments(command, "add_convert_arguments")
    command = _command(commands, "validate", _validate, "prove a conversion against PyTorch, layer by layer")
    _lazy_arguments(command, "add_validate_arguments")

    command = _command(commands, "evaluate", _evaluate, "let independent networks judge a run's images")
    command.add_argument("run", type=Path, metavar="RUN")
    command.add_argument("--verifier", nargs="+", action="extend", default=[], metavar="NAME_OR_FILE",
                         help="networks that took no part in the synthesis (default: those of the run's config)")  # fmt: skip
    command.add_argument(
        "--reference",
        type=Path,
        metavar="FOLDER_OR_ZIP",
        help="real images to compare with (default: those of the run's config)",
    )

    command = _command(
        commands, "report", _report, "write report.html, one self-contained page; several runs side by side"
    )
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="where several runs' comparison goes (default: comparison.html)"
    )
    command.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="also all runs on one picture, by class column")

    from jinv.reproduce_command import add_reproduce_arguments

    command = _command(
        commands,
        "reproduce",
        _reproduce,
        "carry out a folder of experiments: a sheet per figure, findings in numbers",
    )
    add_reproduce_arguments(command)
    _command(commands, "models", _models, "list the networks and the weights that are at hand")
    _command(
        commands, "terms", _terms, "list the terms of the objective, augmentations, parameterizations and schedules"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        parser = make_parser()
        parsed, unknown = parser.parse_known_args(arguments)
        if unknown:
            command = getattr(parsed, "parser", parser)
            hint = nearest(unknown[0], command._option_string_actions)
            raise UsageError(f"unrecognized arguments: {' '.join(unknown)}{hint} (see {command.prog} --help)")
        if not hasattr(parsed, "run_command"):
            parser.print_help()
            return 0
        return parsed.run_command(parsed) or 0
    except JinvError as error:
        return _fail(error, error.exit_code, debug)
    except KeyboardInterrupt:
        print("jinv: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _fail(MemoryLimitError(f"out of memory: {error}; lower image.batch or image.size"), 8, debug)
    except OSError as error:
        return _fail(error, 5, debug)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            first = str(error).splitlines()[0]
            return _fail(MemoryLimitError(f"out of memory: {first}; lower image.batch or image.size"), 8, debug)
        raise


def _fail(error: BaseException, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"jinv: error: {error}", file=sys.stderr)
    return code


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run_command=run, parser=command)
    return command


def _lazy_arguments(command: argparse.ArgumentParser, function: str) -> None:
    import jinv_convert.commands

    getattr(jinv_convert.commands, function)(command)


def _prepare_jax() -> None:
    """The persistent compilation cache, in the user's cache directory unless JAX was told otherwise."""
    import jax

    from jinv.weights.cache import cache_directory

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _synthesize(arguments: argparse.Namespace) -> int:
    from jinv.recipe.read import read_config

    overrides = list(arguments.overrides)
    if arguments.config is None and overrides and "=" not in overrides[-1]:
        arguments.config = overrides.pop()  # `--set a=b CONFIG.toml`: argparse gave --set one word too many
    if arguments.config is None and (arguments.memory or "").endswith(".toml"):
        arguments.config, arguments.memory = arguments.memory, ""  # and here --memory took it
    if arguments.config is None:
        raise UsageError("synthesize: which CONFIG.toml? For example: jinv synthesize configs/demo.toml")
    recipe = read_config(arguments.config, overrides)
    out = arguments.out or Path("runs") / Path(arguments.config).stem
    _prepare_jax()
    if arguments.memory is not None:
        from jinv.experiment.memory import parse_bytes, print_plan

        print_plan(recipe, parse_bytes(arguments.memory) if arguments.memory else None)
        return 0
    from rich.console import Console

    from jinv.record.directory import RunDirectory
    from jinv.report.text import print_result
    from jinv.runs.synthesize import run

    if arguments.replace and not arguments.resume:
        RunDirectory(out).remove()
    console = Console(stderr=True)
    run_directory = run(recipe, out, resume=arguments.resume, console=console)
    print_result(run_directory.path)
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from jinv.recipe.variations import read_variations

    for words in (arguments.vary, arguments.overrides):
        if arguments.config is None and words and "=" not in words[-1]:
            arguments.config = words.pop()
    if arguments.config is None:
        raise UsageError("sweep: which CONFIG.toml? For example: jinv sweep configs/demo.toml --vary seed=[0,1,2]")
    if arguments.at_once is not None and arguments.at_once < 1:
        raise UsageError(f"--at-once: {arguments.at_once} must be a whole number of at least 1")
    variations = read_variations(arguments.config, arguments.vary, overrides=arguments.overrides, zipped=arguments.zip)
    out = arguments.out or Path("runs") / f"{Path(arguments.config).stem}_sweep"
    _prepare_jax()
    from jinv.runs.sweep import run_sweep
    from jinv.runs.sweep_summary import print_summary

    print_summary(run_sweep(variations, out, at_once=arguments.at_once))
    print(f"settings   {out / 'sweep.json'}")
    if (out / "comparison.html").exists():
        print(f"comparison {out / 'comparison.html'}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from jinv_convert.commands import run_convert

    return run_convert(arguments)


def _validate(arguments: argparse.Namespace) -> int:
    from jinv_convert.commands import run_validate

    _prepare_jax()
    return run_validate(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    _prepare_jax()
    from jinv.errors import StorageError
    from jinv.judge.evaluate import evaluate_run, print_evaluation
    from jinv.record.directory import RunDirectory
    from jinv.runs.synthesize import finish

    run_directory = RunDirectory(arguments.run)
    manifest = run_directory.manifest()
    if manifest is None:
        raise StorageError(f"{arguments.run}: not a run directory (no manifest.json)")
    if not manifest["finished"]:
        raise StorageError(f"{arguments.run}: the run is not finished; continue it with jinv synthesize --resume")
    asked = run_directory.config().get("evaluate", {})
    verifiers = list(arguments.verifier) or asked.get("verifiers", [])
    if not verifiers:
        raise UsageError(
            "evaluate: the run's config names no verifiers; give some, such as --verifier efficientnet_lite1"
        )
    result = evaluate_run(arguments.run, verifiers, arguments.reference or asked.get("reference"))
    finish(run_directory, manifest)
    print_evaluation(result)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from jinv.report.page import write_comparison, write_report

    if arguments.out and len(arguments.runs) == 1:
        raise UsageError("--out: is for the comparison of several runs; one run's report goes into its directory")
    if arguments.sheet and arguments.sheet.suffix.lower() not in (".jpg", ".jpeg"):
        raise UsageError(f"--sheet {arguments.sheet}: is a JPEG, give it a name that ends in .jpg")
    for path in arguments.runs:
        print(write_report(path))
    if len(arguments.runs) > 1:
        print(write_comparison(arguments.runs, arguments.out or Path("comparison.html")))
    if arguments.sheet:
        from jinv.reproduce.pages import write_contact_sheet

        print(write_contact_sheet(arguments.runs, arguments.sheet))
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from jinv.reproduce_command import run_reproduce

    _prepare_jax()
    return run_reproduce(arguments)


def _models(arguments: argparse.Namespace) -> int:
    from jinv.listing import print_models

    print_models()
    return 0


def _terms(arguments: argparse.Namespace) -> int:
    from jinv.listing import print_terms

    print_terms()
    return 0


if __name__ == "__main__":
    sys.exit(main())
