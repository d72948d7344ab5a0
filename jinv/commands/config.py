"""`jinv config`: what a config says, and what one may say."""

import argparse
import json
import sys

from jinv.commands.arguments import add_plugins, add_positional, add_words, vocabulary_of
from jinv.errors import UsageError

HELP = "check a config, of a run, a training or a distillation, and print it with every default, or print the schema of configs for editors"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(command, "config", "CONFIG.toml")
    set_help = "change a config value, such as --set image.count=4 stages.0.steps=50"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    schema = "print the JSON schema of configs: every key with its type, limits, default and a line of help"
    command.add_argument("--schema", action="store_true", help=schema)
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    if arguments.schema:
        if arguments.config is not None or arguments.overrides:
            raise UsageError("config: --schema is of all configs; it goes with no CONFIG.toml and no --set")
        from jinv.recipe.schema import json_schema

        _print_data(json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n")
        return 0
    if arguments.config is None:
        raise UsageError("config: which CONFIG.toml? For example: jinv config demo")
    import tomli_w

    from jinv.experiment.bind import check_recipe
    from jinv.recipe.packaged import find_any_config
    from jinv.recipe.read import read_config
    from jinv.recipe.resolved import resolved_table
    from jinv.recipe.training import TrainingRecipe, complete_table, kind_of_config, read_training

    config = find_any_config(arguments.config)
    kind = kind_of_config(config)
    if kind is None:
        recipe = read_config(config, arguments.overrides)
        check_recipe(recipe, vocabulary_of(arguments))
        _print_data(tomli_w.dumps(resolved_table(recipe, every_key=True)))
        return 0
    from jinv.students.inputs import check_names

    part = read_training(config, kind, tuple(arguments.overrides))
    check_names(part, vocabulary_of(arguments))
    what = "training: jinv train" if isinstance(part, TrainingRecipe) else "distillation: jinv distill"
    _print_data(f"# A {what} carries it out.\n" + tomli_w.dumps(complete_table(part)))
    return 0


def _print_data(text: str) -> None:
    """JSON or TOML on standard output; what its encoding lacks is escaped, as both know it, for a `?` would be another text."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text if text.isascii() else "".join(_escaped(character, encoding) for character in text), end="")


def _escaped(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        units = character.encode("utf-16-be")
        if len(units) == 2:
            return f"\\u{units.hex()}"
        return f"\\U{ord(character):08x}"
    return character
