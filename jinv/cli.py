"""The command line. Importing it, and `jinv --help`, load neither jax nor torch; each command imports what it needs."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from jinv import __version__
from jinv.commands import (
    attribute,
    check,
    config,
    convert,
    distill,
    evaluate,
    export,
    merge,
    models,
    record_stats,
    report,
    reproduce,
    search,
    status,
    submit,
    sweep,
    synthesize,
    terms,
    train,
    validate,
    verify,
    worker,
)
from jinv.commands.arguments import said_of
from jinv.commands.output import forgive
from jinv.errors import (
    JinvError,
    MemoryLimitError,
    UsageError,
    nearest,
)

COMMANDS = {
    "synthesize": synthesize,
    "worker": worker,
    "merge": merge,
    "verify": verify,
    "sweep": sweep,
    "search": search,
    "submit": submit,
    "status": status,
    "config": config,
    "convert": convert,
    "validate": validate,
    "evaluate": evaluate,
    "report": report,
    "attribute": attribute,
    "export": export,
    "train": train,
    "distill": distill,
    "reproduce": reproduce,
    "record-stats": record_stats,
    "models": models,
    "terms": terms,
    "check": check,
}

EPILOG = """\
exit codes: 0 done; 2 usage, config or unknown name; 3 unsafe or malformed input; 4 does not match the model;
5 I/O, disk or missing file; 6 run-directory conflict; 7 numerical failure, or a contract violated; 8 out of memory;
75 interrupted and resumable; 130 Ctrl-C
"""


class _Parser(argparse.ArgumentParser):
    """Errors are one line, with the nearest valid name."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("ignored explicit argument", "takes no value, not")
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

    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.set_defaults(run_command=module.run, parser=command)
        module.add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    parsed = argparse.Namespace()
    try:
        parser = make_parser()
        parsed, unknown = parser.parse_known_args(arguments)
        if unknown:
            command = getattr(parsed, "parser", parser)
            hint = nearest(unknown[0], command._option_string_actions) or _after_a_flag(unknown[0], arguments, command)
            raise UsageError(f"unrecognized arguments: {' '.join(unknown)}{hint} (see {command.prog} --help)")
        if not hasattr(parsed, "run_command"):
            parser.print_help()
            return 0
        return parsed.run_command(parsed) or 0
    except JinvError as error:
        return _fail(error, error.exit_code, debug, said_of(error, parsed))
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


def _after_a_flag(word: str, arguments: Sequence[str], command: argparse.ArgumentParser) -> str:
    """What is said of a word behind an option that takes none, such as `--zip seed=[0,1]`."""
    options = command._option_string_actions
    before = arguments[max(arguments.index(word) - 1, 0)] if word in arguments else ""
    if before not in options or options[before].nargs != 0:
        return ""
    taking = [name for name, action in options.items() if "=" in str(action.metavar) and "=" in word]
    return f"; {before} takes no value" + (f", {' or '.join(taking)} does" if taking else "")


def _fail(error: BaseException, code: int, debug: bool, said: str | None = None) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"jinv: error: {error if said is None else said}", file=sys.stderr)
    return code


def run() -> int:
    """The program: `main`, whose run outlives whoever reads its words."""
    forgive()
    return main()


if __name__ == "__main__":
    sys.exit(run())
