"""Arguments that several commands have, and what they say."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jinv.errors import JinvError, UsageError, legible, naming_option, nearest

if TYPE_CHECKING:
    from jinv.experiment.vocabulary import Vocabulary
    from jinv.recipe.recipe import Recipe


class _Words(argparse.Action):
    """`--set a=1 b=2 CONFIG.toml`: argparse hands an option every word that follows it; the last may be the positional."""

    def __init__(self, *args: Any, positional: str, belongs: Callable[[str], bool], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.positional, self.belongs = positional, belongs

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        words = [values] if isinstance(values, str) else list(values)
        if words and words[-1] and not self.belongs(words[-1]) and getattr(namespace, self.positional, None) is None:
            setattr(namespace, self.positional, words.pop())
        if self.nargs == "?":
            setattr(namespace, self.dest, words[0] if words else self.const)
        else:
            setattr(namespace, self.dest, [*getattr(namespace, self.dest), *words])


class _Given(argparse.Action):
    """A positional that leaves what an option has given back, where nothing else was given."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if values is not None:
            setattr(namespace, self.dest, values)


def read_recipe(arguments: argparse.Namespace) -> "tuple[Recipe, Path]":
    """What the config of a command says with its `--set`, and the directory to work in: `--out`, or one called as the config.

    Raises:
      JinvError: no such config, anything wrong in it, or a file of jinv's own that it needs is not here.
    """
    from jinv.recipe.packaged import check_packaged_files, find_config
    from jinv.recipe.read import read_config

    config = find_config(arguments.config)
    recipe = read_config(config, [*arguments.overrides, *log_override(arguments)])
    check_packaged_files(config, recipe)
    return recipe, arguments.out or Path("runs") / config.stem


OPTIONS = {
    "evaluate.verifiers": "verifier",
    "evaluate.reference": "reference",
    "evaluate.photographs": "photographs",
    "image.labels": "label",
}
"""Keys of a config that commands of a run have an option for, called so."""


def said_of(error: JinvError, arguments: argparse.Namespace) -> str:
    """What an error says; of a config's key also the config's file, a run's too, or the option that set it."""
    option = OPTIONS.get(error.key or "")
    if option is not None and getattr(arguments, option, None):
        return f"--{option}: {error.said}"
    config = _config_of(arguments)
    if error.key is None or config is None:
        return str(error)
    from jinv.recipe.checking import told
    from jinv.recipe.overrides import changed_by

    options = {"--set": "overrides", "--vary": "vary", "--tune": "tune"}
    changed = changed_by({option: getattr(arguments, name, []) for option, name in options.items()})
    if getattr(arguments, "log", None):
        changed["log"] = "--log"
    return told(legible(str(config)), error.key, str(error), changed)


def _config_of(arguments: argparse.Namespace) -> "str | Path | None":
    """The config that a command was given, or that of its run."""
    given, run = (getattr(arguments, name, None) for name in ("config", "run"))
    if given is not None or run is None:
        return given
    from jinv.record.config import CONFIG

    config = Path(run) / CONFIG if Path(run).is_dir() else Path(run)
    return config if config.suffix == ".toml" and config.is_file() else None


def check_output(path: Path, option: str) -> Path:
    """The file that an option names, which will be written; before long work. Raises as `files.check_writable`."""
    from jinv.files import check_writable

    with naming_option(option):
        return check_writable(path)


def add_training(command: argparse.ArgumentParser, what: str, example: str) -> None:
    """What a command takes that trains: a config, of `what`, with changes such as `example`, and a directory."""
    add_positional(command, "config", "CONFIG.toml", f"a file, or the name of a {what} that comes with jinv")
    set_help = f"change a config value, such as --set {example}"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    add_log(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="where it goes (default: runs/<config name>)")
    command.add_argument("--resume", action="store_true", help=f"continue an interrupted {what} in DIR")
    add_plugins(command)


def add_plugins(command: argparse.ArgumentParser, more: str = "") -> None:
    """`--plugin`, for a command that gives a config's names their meaning; `more` is what it means there besides."""
    help = (
        "a .py file or an importable module with terms, augmentations, parameterizations, projections, schedules or metrics of "
        "your own, which is executed; as often as wanted (also: the variable JINV_PLUGINS, separated as PATH is)"
        + (f"; {more}" if more else "")
    )
    command.add_argument("--plugin", action="append", default=[], metavar="FILE_OR_MODULE", dest="plugins", help=help)


def vocabulary_of(arguments: argparse.Namespace) -> "Vocabulary":
    """What names stand for with the plugins of a command; raises as `load_plugins`."""
    from jinv.experiment.plugins import load_plugins

    return load_plugins(*arguments.plugins)


def add_log(command: argparse.ArgumentParser) -> None:
    """`--log NAME`, as often as wanted."""
    help = "send what is logged there too: tensorboard, wandb or trackio (extras of jinv); may be given several times"
    command.add_argument("--log", action="append", metavar="NAME", default=[], help=help)


def log_override(arguments: argparse.Namespace) -> list[str]:
    """`--log` as the change of the config that it stands for, which comes after those of `--set`.

    Raises:
      UsageError: an unknown name.
    """
    names = list(dict.fromkeys(getattr(arguments, "log", [])))
    if names:
        from jinv.recipe.values import SinkName

        known = get_args(SinkName)
        for name in (name for name in names if name not in known):
            raise UsageError(f"--log {name}: no such place to log to{nearest(name, known)} (known: {', '.join(known)})")
    return [f"log={json.dumps(names)}"] if names else []


def add_positional(command: argparse.ArgumentParser, name: str, metavar: str, help: str | None = None) -> None:
    """A positional that a greedy option before it may have taken, see `add_words`; missing, it is None."""
    command.add_argument(name, nargs="?", action=_Given, metavar=metavar, help=help)


def add_words(
    command: argparse.ArgumentParser, flag: str, metavar: str, help: str, *, positional: str, dest: str
) -> None:
    """An option that takes words with "=" in them, as many as follow and as often as it is given."""
    command.add_argument(
        flag, nargs="+", action=_Words, default=[], metavar=metavar, dest=dest, help=help,
        positional=positional, belongs=lambda word: "=" in word,
    )  # fmt: skip


def add_amount(command: argparse.ArgumentParser, flag: str, metavar: str, help: str, *, positional: str) -> None:
    """An option with an amount that may be left out ("" then), in front of a positional that begins with no digit."""
    command.add_argument(
        flag, nargs="?", const="", action=_Words, metavar=metavar, help=help,
        positional=positional, belongs=lambda word: word[:1].isdigit(),
    )  # fmt: skip
