"""`jinv config`: what a config says, and what one may say."""

import argparse
import json

from jinv.commands.arguments import add_positional, add_words
from jinv.errors import UsageError

HELP = "check a config and print it with every default, or print the schema of configs for editors"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(command, "config", "CONFIG.toml")
    set_help = "change a config value, such as --set image.count=4 stages.0.steps=50"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    schema = "print the JSON schema of configs: every key with its type, limits, default and a line of help"
    command.add_argument("--schema", action="store_true", help=schema)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    if arguments.schema:
        if arguments.config is not None or arguments.overrides:
            raise UsageError("config: --schema is of all configs; it goes with no CONFIG.toml and no --set")
        from jinv.recipe.schema import json_schema

        print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
        return 0
    if arguments.config is None:
        raise UsageError("config: which CONFIG.toml? For example: jinv config demo")
    import tomli_w

    from jinv.experiment.bind import check_recipe
    from jinv.recipe.packaged import find_config
    from jinv.recipe.read import read_config
    from jinv.recipe.resolved import resolved_table

    recipe = read_config(find_config(arguments.config), arguments.overrides)
    check_recipe(recipe)
    print(tomli_w.dumps(resolved_table(recipe, every_key=True)), end="")
    return 0
